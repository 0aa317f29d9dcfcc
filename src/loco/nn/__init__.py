"""Parts that several nets are built of: layers, attention, transformer blocks, a stream's encoder.

They map tensors to tensors, and never let padding reach a real step. No detector is known here, no
file format, no event: what turns features into events stands in `loco.detection`.
"""
