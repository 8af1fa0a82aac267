"""Edges of an image of any dimension."""

from collections.abc import Sequence
from itertools import product
from math import inf, prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nnunetv2_mamba.building_blocks.layout import spatial_dims

CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


class SobelMagnitude(nn.Module):
    """Length of the Sobel gradient of every channel: central difference along one axis, 1-2-1 smoothing across.

    The gradient is physical up to one factor: its unit of length is the spacing of the finest axis, so that a ramp
    of slope 1 per voxel along that axis has magnitude 1, and so has the same ramp in mm along any other axis. The unit
    of the spacing does not matter therefore, and isotropic voxels are the same as no spacing. The image is continued
    by its border, which makes no edge of its own.

    Args:
        channels: channels of the image, each on its own.
        conv_op: `nn.Conv2d` or `nn.Conv3d`.
        spacing: distance of neighbouring voxels per spatial axis, in the order of the image's axes; None: isotropic.

    Raises:
        ValueError: not one spacing per axis, or one that is not positive and finite.
    """

    kernels: Tensor

    def __init__(
        self, channels: int, conv_op: type[nn.Module] = nn.Conv2d, spacing: Sequence[float] | None = None
    ) -> None:
        super().__init__()
        self.channels = channels
        self.ndim = spatial_dims(conv_op)
        lengths = _relative_spacing(spacing, self.ndim)
        kernels = torch.stack([_sobel_kernel(axis, self.ndim) / length for axis, length in enumerate(lengths)])
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


def _relative_spacing(spacing: Sequence[float] | None, ndim: int) -> list[float]:
    """Spacing of each axis over that of the finest."""
    if spacing is None:
        return [1.0] * ndim
    if len(spacing) != ndim or not all(0 < length < inf for length in spacing):
        raise ValueError(f"the spacing is {list(spacing)}; give one positive number for each of the {ndim} axes")
    return [length / min(spacing) for length in spacing]


def _sobel_kernel(axis: int, ndim: int) -> Tensor:
    """Sobel kernel (3, ..., 3) of the derivative along one axis."""
    difference, smoothing = (-0.5, 0.0, 0.5), (0.25, 0.5, 0.25)
    factors = [difference if i == axis else smoothing for i in range(ndim)]
    return torch.tensor([prod(taps) for taps in product(*factors)]).reshape((3,) * ndim)
