"""TriDet (arXiv 2303.07347): convolutions instead of attention, boundaries as distributions.

`sgp` is its scalable-granularity block, `head` the Trident head, `detector` puts them together.
"""
