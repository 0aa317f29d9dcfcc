"""Whole systems, one file or one folder each: nets, and how they are trained and asked.

A detector is an `nn.Module` with `losses(batch)` and `detect(batch)`. None imports another one:
what two of them need goes down to `loco.nn` or `loco.detection`.
"""
