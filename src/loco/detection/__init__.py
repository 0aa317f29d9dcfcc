"""What point-based detectors share: assignment, heads, losses, decoding, suppression.

A point is a step of a level of a pyramid. Nothing here knows which net gave a point its scores and
offsets, so that any detector can take these parts; the nets stand in `loco.detectors`.
"""
