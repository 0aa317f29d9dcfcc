"""Parts of several nets: layers, attention, transformer blocks, encoders, pyramids, fusion.

They map tensors to tensors, and never let padding reach a real step. No detector is known here, no
file format, no event: what turns features into events stands in `loco.detection`.
"""
