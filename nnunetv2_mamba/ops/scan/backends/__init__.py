"""Implementations of the scan, each in a file that is called what ``NNUNETV2_MAMBA_BACKEND`` calls it."""
