"""From nnU-Net's plans to ours: the same data, patches and downsampling, another network."""
