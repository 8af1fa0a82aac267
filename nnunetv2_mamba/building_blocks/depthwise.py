"""Depthwise 3x3 convolutions whose backward pass uses what the device does fast."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from nnunetv2_mamba.building_blocks.layout import channels_last

CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def depthwise_convolution(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolve every channel with a kernel of its own, padded by zeros to the same size.

    As PyTorch's grouped convolution, of which the backward pass takes ten times as long for volumes on the CPU.

    Args:
        x: (B, C, *spatial).
        weight: (C, 1, 3, 3) or with another number of axes.
        bias: (C,), or None.

    Returns:
        Tensor (B, C, *spatial).
    """
    slow = x.ndim == 5 and x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)
    if not slow or torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling():
        return _convolution(x, weight, bias)
    result = _VolumeConvolution.apply(x, weight)
    return result if bias is None else result + bias.view(-1, 1, 1, 1)


def depthwise_gradients(gradient: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of `depthwise_convolution` with respect to its input and its kernels.

    Args:
        gradient: with respect to the result, (B, C, *spatial).
        x: as in `depthwise_convolution`.
        weight: as in `depthwise_convolution`.
    """
    # The input's is the same convolution with mirrored kernels.
    d_x = _convolution(gradient, weight.flip(tuple(range(2, weight.ndim))))
    if x.ndim < 5 or x.device.type != "cpu":
        return d_x, _weight_gradient(gradient, x)
    # The slices of a volume are taken for a batch of images, once for each slice of the kernels.
    padded, images = F.pad(x, (0, 0, 0, 0, 1, 1)), _slices(gradient)
    shifted = (padded[:, :, first : first + x.shape[2]] for first in range(3))
    return d_x, torch.stack([_weight_gradient(images, _slices(volume)) for volume in shifted], 2)


class _VolumeConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _convolution(x, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        return depthwise_gradients(gradient, *ctx.saved_tensors)


def _convolution(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return CONVOLUTIONS[x.ndim - 2](x, weight, bias, padding=1, groups=x.shape[1])


def _slices(volumes: Tensor) -> Tensor:
    """(B, C, D, H, W) as (B * D, C, H, W), channels last in memory."""
    return channels_last(volumes).flatten(0, 1).movedim(-1, 1)


def _weight_gradient(gradient: Tensor, x: Tensor) -> Tensor:
    ndim, channels = x.ndim - 2, x.shape[1]
    ones, weight = [1] * ndim, x.new_empty(channels, 1, *(3,) * ndim)
    arguments = (None, ones, ones, ones, False, [0] * ndim, channels, [False, True, False])
    return torch.ops.aten.convolution_backward(gradient, x, weight, *arguments)[1]
