"""Edges of an image of any dimension."""

from itertools import product
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nnunetv2_mamba.building_blocks.layout import spatial_dims

CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


class SobelMagnitude(nn.Module):
    """Length of the Sobel gradient of every channel: central difference along one axis, 1-2-1 smoothing across.

    Kernels are scaled so that a ramp of slope 1 per voxel has magnitude 1. The voxel spacing is not known here and
    hence not taken into account. The image is continued by its border, which makes no edge of its own.

    Args:
        channels: channels of the image, each on its own.
        conv_op: `nn.Conv2d` or `nn.Conv3d`.
    """

    kernels: Tensor

    def __init__(self, channels: int, conv_op: type[nn.Module] = nn.Conv2d) -> None:
        super().__init__()
        self.channels = channels
        self.ndim = spatial_dims(conv_op)
        kernels = torch.stack([_sobel_kernel(axis, self.ndim) for axis in range(self.ndim)])
        self.register_buffer(
            "kernels", kernels.unsqueeze(1).repeat(channels, *(1,) * (self.ndim + 1)), persistent=False
        )

    def forward(self, x: Tensor) -> Tensor:
        """Gradient magnitude of x (B, channels, *spatial); same shape out."""
        padded = F.pad(x, (1, 1) * self.ndim, mode="replicate")
        gradient = CONVOLUTIONS[self.ndim](padded, self.kernels.to(x.dtype), groups=self.channels)
        # Squares can leave the range of float16.
        wide = gradient.to(torch.promote_types(gradient.dtype, torch.float32))
        squares = wide.square().unflatten(1, (self.channels, self.ndim)).sum(2)
        return torch.sqrt(squares + 1e-6).to(x.dtype)


def _sobel_kernel(axis: int, ndim: int) -> Tensor:
    """Sobel kernel (3, ..., 3) of the derivative along one axis."""
    difference, smoothing = (-0.5, 0.0, 0.5), (0.25, 0.5, 0.25)
    factors = [difference if i == axis else smoothing for i in range(ndim)]
    return torch.tensor([prod(taps) for taps in product(*factors)]).reshape((3,) * ndim)
