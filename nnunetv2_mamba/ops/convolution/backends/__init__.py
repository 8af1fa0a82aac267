"""Implementations of the causal convolution, each in a file that is called what ``NNUNETV2_MAMBA_BACKEND`` calls it."""
