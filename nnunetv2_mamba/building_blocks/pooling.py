"""Average pooling that half precision can use everywhere."""

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from nnunetv2_mamba.building_blocks.precision import at_least_float32

AVERAGE_POOLS = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def average_pool(x: Tensor, kernel_size: Sequence[int], stride: Sequence[int]) -> Tensor:
    """Mean over windows of a grid, computed in float32 at least where PyTorch cannot do it in half precision.

    Args:
        x: (B, C, *spatial).
        kernel_size: size of a window per axis.
        stride: distance of windows per axis.

    Returns:
        A grid of x's dtype.
    """
    # On the CPU, PyTorch has no 3-D pooling of 16-bit numbers.
    wide = at_least_float32(x) if x.device.type == "cpu" else x
    pool = AVERAGE_POOLS[x.ndim - 2]
    return pool(wide, tuple(kernel_size), tuple(stride)).to(x.dtype)
