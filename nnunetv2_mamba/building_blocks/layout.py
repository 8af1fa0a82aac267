"""Where the channels are: blocks work on (B, *spatial, C), convolutions on (B, C, *spatial)."""

from collections.abc import Sequence
from math import prod

from torch import Tensor, nn
from torch.nn import functional as F

CONV_OPS = {nn.Conv1d: 1, nn.Conv2d: 2, nn.Conv3d: 3}


def spatial_dims(conv_op: type[nn.Module]) -> int:
    """Number of spatial axes that a convolution class works on.

    Args:
        conv_op: `nn.Conv1d`, `nn.Conv2d` or `nn.Conv3d`.

    Raises:
        ValueError: it is none of the three.
    """
    if conv_op not in CONV_OPS:
        raise ValueError(f"conv_op is {conv_op!r}; use torch.nn.Conv1d, Conv2d or Conv3d")
    return CONV_OPS[conv_op]


def channels_first(x: Tensor) -> Tensor:
    """View (B, *spatial, C) as (B, C, *spatial); contiguous tokens become torch's channels-last memory format."""
    return x.movedim(-1, 1)


def channels_last(x: Tensor) -> Tensor:
    """View (B, C, *spatial) as (B, *spatial, C)."""
    return x.movedim(1, -1)


def pointwise(convolution: nn.Module, tokens: Tensor) -> Tensor:
    """Apply a 1x1 convolution to tokens (B, *spatial, C) without a copy: torch's own convolution would copy them twice.

    Args:
        convolution: `nn.Conv2d` or `nn.Conv3d` with a kernel of one position.
        tokens: (B, *spatial, C).

    Returns:
        Tensor (B, *spatial, out_channels).
    """
    return F.linear(tokens, convolution.weight.flatten(1), convolution.bias)


def space_to_depth(x: Tensor, stride: Sequence[int]) -> Tensor:
    """Collect every stride-sized cell of a grid in the channels of one token.

    Args:
        x: tokens (B, *spatial, C), each axis a multiple of its stride.
        stride: cell size per axis.

    Returns:
        Tensor (B, *spatial / stride, S * C), S the product of the strides; the position within the cell varies slower
        than the channel and its first axis fastest: (0, 0), (1, 0), (0, 1), (1, 1), as in VMamba's patch merging.
    """
    ndim = len(stride)
    cells = [length // step for length, step in zip(x.shape[1:-1], stride, strict=True)]
    split = [size for pair in zip(cells, stride, strict=True) for size in pair]
    x = x.reshape(x.shape[0], *split, x.shape[-1])
    grid_axes = range(1, 2 * ndim, 2)
    cell_axes = range(2 * ndim, 0, -2)
    return x.permute(0, *grid_axes, *cell_axes, 2 * ndim + 1).flatten(ndim + 1)


def depth_to_space(x: Tensor, stride: Sequence[int]) -> Tensor:
    """Spread the channels of one token over a stride-sized cell of a finer grid.

    Args:
        x: tokens (B, *spatial, S * C), S the product of the strides.
        stride: cell size per axis.

    Returns:
        Tensor (B, *spatial * stride, C); the position within the cell varies slower than the channel and its last axis
        fastest, as in VM-UNet's patch expanding.
    """
    ndim = len(stride)
    batch, *grid, channels = x.shape
    x = x.reshape(batch, *grid, *stride, channels // prod(stride))
    interleaved = [axis for first in range(1, ndim + 1) for axis in (first, first + ndim)]
    fine = [length * step for length, step in zip(grid, stride, strict=True)]
    return x.permute(0, *interleaved, 2 * ndim + 1).reshape(batch, *fine, channels // prod(stride))
