"""The short causal filter in front of every Mamba-1 scan: `interface` is the function, the rest its backends."""

from nnunetv2_mamba.ops.convolution.interface import causal_conv1d

__all__ = ["causal_conv1d"]
