"""The selective scan (S6) along a sequence and, in several directions at once, over an N-D grid."""

from nnunetv2_mamba.ops.scan.interface import cross_selective_scan, selective_scan
from nnunetv2_mamba.ops.scan.orders import cyclic_axis_orders

__all__ = ["cross_selective_scan", "cyclic_axis_orders", "selective_scan"]
