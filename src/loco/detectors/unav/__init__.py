"""UnAV (Geng et al., CVPR 2023): the detector, and its dependency block."""
