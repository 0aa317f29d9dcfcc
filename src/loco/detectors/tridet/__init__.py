"""TriDet (arXiv 2303.07347): convolutions instead of attention, boundaries as distributions.

`detector` puts its parts together, which others use as well: the scalable-granularity block
(`loco.nn.sgp`) and the Trident head (`loco.detection.trident`).
"""
