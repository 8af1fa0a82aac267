"""Sequence operators, each one function with several backends; this package knows torch and nothing above it."""

from nnunetv2_mamba.ops.backends import BackendError, Decision, explain
from nnunetv2_mamba.ops.convolution import causal_conv1d
from nnunetv2_mamba.ops.scan import cross_selective_scan, selective_scan

__all__ = ["BackendError", "Decision", "causal_conv1d", "cross_selective_scan", "explain", "selective_scan"]
