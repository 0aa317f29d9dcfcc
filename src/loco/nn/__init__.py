"""Parts that several nets are built of: layers, attention, blocks, the encoder of a stream.

They map tensors to tensors, and never let padding reach a real step. No detector is known here, no
file format, no event: what turns features into events stands in `loco.detection`.
"""
