"""TadTR (arXiv 2106.10271): a transformer that says a fixed number of events, each of them once.

`deformable` is temporal deformable attention, `transformer` the encoder and the decoder that
refines segments, `actionness` rates them by what the memory holds there, `matching` pairs queries
with events, `losses` and `decoding` train and read them, `detector` puts it all together.
"""
