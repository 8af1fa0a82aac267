"""nnU-Net trainers: one file each, re-exporting the class it is named after; nnU-Net finds them by that name."""
