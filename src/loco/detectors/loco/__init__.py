"""LoCo (arXiv 2409.07967), to be read beside the paper.

`correspondence` is LCC (Eq. 2–5), `cdp` cross-modal dynamic perception (Eq. 6–8), `detector` puts
encoder, pyramid and decoder together (Eq. 1). Attention over all steps or over a fixed window is no
invention of LoCo's, and stands in `loco.nn.attention`.
"""
