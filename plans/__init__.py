"""Plans with our networks, derived from nnU-Net's plans: the same data, patches and downsampling."""
