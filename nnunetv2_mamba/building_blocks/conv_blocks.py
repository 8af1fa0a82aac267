"""Convolution blocks, plain and residual, as the U-shaped Mamba networks use them."""

from collections.abc import Sequence
from math import prod
from typing import Any, Protocol

from dynamic_network_architectures.building_blocks.residual import BasicBlockD
from dynamic_network_architectures.building_blocks.simple_conv_blocks import ConvDropoutNormReLU
from torch import Tensor, nn

from nnunetv2_mamba.building_blocks.instance_norm import InstanceNorm
from nnunetv2_mamba.building_blocks.pooling import average_pool

NORM_AND_NONLIN: dict[str, Any] = {
    "conv_bias": True,
    "norm_op": InstanceNorm,
    "nonlin": nn.LeakyReLU,
    "nonlin_kwargs": {"inplace": True},
}
"""What the convolutions of nnU-Net and of Taming Mambas have in common; the slope is PyTorch's, 0.01."""


class ConvBlock(Protocol):
    """Makes a block of convolutions, grid (B, input_channels, *spatial) to (B, channels, *spatial / stride)."""

    def __call__(
        self,
        conv_op: type[nn.Module],
        input_channels: int,
        channels: int,
        *,
        kernel_size: Sequence[int],
        stride: Sequence[int],
    ) -> nn.Module:
        """A block of these widths, such as `PlainConvBlock` and `ResidualConvBlock`."""
        ...


class PlainConvBlock(ConvDropoutNormReLU):
    """One convolution with instance norm and leaky ReLU, two of which make a stage of nnU-Net's U-Net.

    Args:
        conv_op: `nn.Conv2d` or `nn.Conv3d`.
        input_channels: width of the input.
        channels: width of the output.
        kernel_size: per axis, odd.
        stride: per axis.
    """

    def __init__(
        self,
        conv_op: type[nn.Module],
        input_channels: int,
        channels: int,
        *,
        kernel_size: Sequence[int],
        stride: Sequence[int],
    ) -> None:
        super().__init__(
            conv_op, input_channels, channels, kernel_size=tuple(kernel_size), stride=tuple(stride), **NORM_AND_NONLIN
        )
        self.channels = channels

    def compute_conv_feature_map_size(self, tokens: int) -> int:
        """Feature-map elements kept for the backward pass, for so many positions of its output, which is included."""
        return 2 * tokens * self.channels


class ConvStem(PlainConvBlock):
    """The first convolution, at full resolution.

    Args:
        conv_op: `nn.Conv2d` or `nn.Conv3d`.
        input_channels: channels of the image.
        channels: width of the output.
        kernel_size: per axis, odd.
    """

    def __init__(
        self, conv_op: type[nn.Module], input_channels: int, channels: int, *, kernel_size: Sequence[int]
    ) -> None:
        stride = (1,) * len(kernel_size)
        super().__init__(conv_op, input_channels, channels, kernel_size=kernel_size, stride=stride)

    def compute_conv_feature_map_size(self, tokens: int) -> int:
        """Feature-map elements kept for the backward pass, for so many positions; the image is included."""
        return tokens * self.input_channels + super().compute_conv_feature_map_size(tokens)


class CellMean(nn.Module):
    """Average pooling over cells.

    Args:
        stride: size of a cell per axis.
    """

    def __init__(self, stride: Sequence[int]) -> None:
        super().__init__()
        self.stride = tuple(stride)

    def forward(self, x: Tensor) -> Tensor:
        """Grid (B, C, *spatial) to (B, C, *spatial / stride)."""
        return average_pool(x, self.stride, self.stride)


class ResidualConvBlock(BasicBlockD):
    """Two convolutions with instance norm, and leaky ReLU behind the first and behind the residual.

    A strided block averages in its residual, one that changes the width has a pointwise convolution there. Source:
    ResNet-D, arXiv 1812.01187, as in nnU-Net's residual encoder.

    Args:
        conv_op: `nn.Conv2d` or `nn.Conv3d`.
        input_channels: width of the input.
        channels: width of the output.
        kernel_size: per axis, odd.
        stride: per axis, of the first convolution.
    """

    skip: nn.Module

    def __init__(
        self,
        conv_op: type[nn.Module],
        input_channels: int,
        channels: int,
        *,
        kernel_size: Sequence[int],
        stride: Sequence[int],
    ) -> None:
        super().__init__(
            conv_op,
            input_channels,
            channels,
            kernel_size=tuple(kernel_size),
            stride=tuple(stride),
            **NORM_AND_NONLIN,
        )
        self.channels = channels
        if prod(stride) > 1:
            self.skip[0] = CellMean(stride)
        elif input_channels == channels:
            self.skip = nn.Identity()  # not the lambda, which cannot be pickled

    def compute_conv_feature_map_size(self, tokens: int) -> int:
        """Feature-map elements kept for the backward pass, for so many positions of its output, which is included."""
        kept = 4 * self.channels
        if self.input_channels != self.channels:
            kept += self.channels + (self.input_channels if prod(self.stride) > 1 else 0)
        return tokens * kept
