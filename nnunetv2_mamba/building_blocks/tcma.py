"""S3-Mamba's Tensor-based Cross-feature Multi-scale Attention."""

from collections.abc import Sequence
from functools import reduce
from math import isqrt, prod

import torch
from torch import Tensor, nn

from nnunetv2_mamba.building_blocks.instance_norm import InstanceNorm, instance_normalise
from nnunetv2_mamba.building_blocks.layout import channels_first, channels_last, pointwise
from nnunetv2_mamba.building_blocks.pooling import average_pool
from nnunetv2_mamba.building_blocks.sobel import SobelMagnitude
from nnunetv2_mamba.building_blocks.tensor_attention import TensorAttention


class ImageStem(nn.Sequential):
    """Image features O on the grid of the finest tokens: 7x7 and 3x3 convolutions that share the patch stride.

    Args:
        input_channels: channels of the image.
        channels: C, channels of O.
        stride: stride of the patch embedding per axis.
        conv_op: `nn.Conv2d` or `nn.Conv3d`.
    """

    def __init__(self, input_channels: int, channels: int, stride: Sequence[int], *, conv_op: type[nn.Module]) -> None:
        first = tuple(_larger_factor(step) for step in stride)
        second = tuple(step // larger for step, larger in zip(stride, first, strict=True))
        super().__init__(
            conv_op(input_channels, channels, 7, stride=first, padding=3, bias=False),
            InstanceNorm(channels),
            nn.LeakyReLU(0.01, inplace=True),
            conv_op(channels, channels, 3, stride=second, padding=1, bias=False),
            InstanceNorm(channels),
            nn.LeakyReLU(0.01, inplace=True),
        )


class EdgeStem(nn.Sequential):
    """Edge features E on the grid of the finest tokens: Sobel magnitude, 3x3 convolution and norm, then their mean.

    Args:
        input_channels: channels of the image.
        channels: channels of E.
        stride: stride of the patch embedding per axis, over which the mean is taken.
        conv_op: `nn.Conv2d` or `nn.Conv3d`.
        spacing: as in `SobelMagnitude`; the norm would undo a factor common to all axes anyway.
    """

    def __init__(
        self,
        input_channels: int,
        channels: int,
        stride: Sequence[int],
        *,
        conv_op: type[nn.Module],
        spacing: Sequence[float] | None,
    ) -> None:
        super().__init__(
            SobelMagnitude(input_channels, conv_op, spacing),
            conv_op(input_channels, channels, 3, padding=1, bias=False),
            InstanceNorm(channels),
        )
        self.stride = tuple(stride)

    def forward(self, image: Tensor) -> Tensor:
        """Image (B, input_channels, *spatial) to E (B, channels, *spatial / stride)."""
        sobel, convolution, norm = self
        normalised = instance_normalise(convolution(sobel(image)))
        # The mean of a scaled cell is the scaled mean of the cell, and has fewer numbers to be scaled.
        return norm.scale(average_pool(normalised, self.stride, self.stride))


class TCMALevel(nn.Module):
    """TCMA at one resolution: the attention from encoder features, and the mask by which it tunes decoder features.

    Args:
        channels: width of the tokens of encoder and decoder at this level.
        num_classes: Nc.
        patches: edge lengths d of the scales.
        image_channels: channels of O.
        edge_channels: channels of E.
        hidden: width of the scales' hidden layers.
        conv_op: `nn.Conv2d` or `nn.Conv3d`.
    """

    def __init__(
        self,
        channels: int,
        num_classes: int,
        patches: Sequence[int],
        *,
        image_channels: int,
        edge_channels: int,
        hidden: int,
        conv_op: type[nn.Module],
    ) -> None:
        super().__init__()
        self.class_conv = conv_op(channels, num_classes, 1)
        self.scales = nn.ModuleList(
            TensorAttention(
                patch, num_classes, image_channels=image_channels, edge_channels=edge_channels, hidden=hidden
            )
            for patch in patches
        )
        self.gain = nn.Parameter(torch.ones(num_classes))
        self.mask_conv = conv_op(channels, num_classes, 1)
        self.feedback = conv_op(num_classes, channels, 1, bias=False)
        nn.init.zeros_(self.feedback.weight)

    def forward(self, image: Tensor, edges: Tensor, features: Tensor) -> Tensor:
        """Attention of this level: the sum over scales, scaled per sample and class to a root mean square of ``gain``.

        The means of eqs. 2-4 leave a sum far below 1, which eq. 5 would turn into a faint mask; hence the scaling.

        Args:
            image: O, normalised (B, C, *spatial).
            edges: E, normalised (B, E, *spatial).
            features: encoder tokens (B, *spatial, channels).

        Returns:
            Tensor (B, Nc, *spatial).
        """
        classes = channels_first(pointwise(self.class_conv, features))
        attention = reduce(torch.add, [scale(image, classes, edges) for scale in self.scales])
        power = attention.square().mean(dim=tuple(range(2, attention.ndim)), keepdim=True)
        gain = torch.rsqrt(power + 1e-8) * self.gain.view(-1, *(1,) * (attention.ndim - 2))
        return (attention * gain).to(self.gain.dtype)

    def modulate(self, x: Tensor, attention: Tensor) -> tuple[Tensor, Tensor]:
        """Tune decoder tokens by the attended mask (eq. 5).

        Args:
            x: decoder tokens (B, *spatial, channels).
            attention: what `forward` returned.

        Returns:
            The tuned tokens, and the modulated mask (B, Nc, *spatial), which are logits for deep supervision.
        """
        mask = attention * channels_first(pointwise(self.mask_conv, x))
        return x + pointwise(self.feedback, channels_last(mask)), mask

    def compute_conv_feature_map_size(self, grid: Sequence[int]) -> int:
        """Feature-map elements kept for the backward pass of one sample of so many tokens per axis."""
        num_classes, channels = self.class_conv.out_channels, self.class_conv.in_channels
        scales = sum(scale.compute_conv_feature_map_size(grid) for scale in self.scales)
        return scales + prod(grid) * (4 * num_classes + channels)


class TCMA(nn.Module):
    """Tensor-based Cross-feature Multi-scale Attention over all levels of a U-shaped network.

    Image, edge and encoder features give an attention per level and class; it multiplies a mask predicted from the
    decoder's tokens of that level, and the product is fed back to these tokens through a convolution that starts at
    zero. Source: S3-Mamba, arXiv 2412.14546, eqs. 1-5; widths, scales, feedback and gain are our
    choices (docs/s3-mamba.md).

    Args:
        input_channels: channels of the image.
        num_classes: Nc.
        features_per_stage: width of each level, finest first.
        strides: as in `VSSEncoder`.
        conv_op: `nn.Conv2d` or `nn.Conv3d`.
        patches: edge lengths d of the scales, in tokens.
        image_channels: channels of O.
        edge_channels: channels of E.
        hidden: width of the scales' hidden layers.
        spacing: distance of neighbouring voxels per axis, in mm and in the order of the image's axes, in which edges
            are measured; None: isotropic.

    Raises:
        ValueError: no scale, a scale of less than two tokens, a width below one, or a spacing that is not a
            positive number per axis.
    """

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        features_per_stage: Sequence[int],
        *,
        strides: Sequence[Sequence[int]],
        conv_op: type[nn.Module] = nn.Conv2d,
        patches: Sequence[int] = (2, 4, 8),
        image_channels: int = 8,
        edge_channels: int = 8,
        hidden: int = 64,
        spacing: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if min(patches, default=0) < 2:
            raise ValueError(f"the patches of TCMA are {list(patches)}; give at least one edge length, each 2 or more")
        if min(image_channels, edge_channels, hidden) < 1:
            raise ValueError(
                f"TCMA's image channels, edge channels and hidden width are {image_channels}, {edge_channels} and "
                f"{hidden}; each must be at least 1"
            )
        self.strides = [tuple(stride) for stride in strides]
        self.image_stem = ImageStem(input_channels, image_channels, self.strides[1], conv_op=conv_op)
        self.edge_stem = EdgeStem(input_channels, edge_channels, self.strides[1], conv_op=conv_op, spacing=spacing)
        # Nearly all of a level depends on the classes, so nnU-Net's -pretrained_weights must skip it: hence the name.
        self.seg_layers = nn.ModuleList(
            TCMALevel(
                channels,
                num_classes,
                patches,
                image_channels=image_channels,
                edge_channels=edge_channels,
                hidden=hidden,
                conv_op=conv_op,
            )
            for channels in features_per_stage
        )

    def forward(self, image: Tensor, features: Sequence[Tensor]) -> list[Tensor]:
        """Attention of every level, finest first.

        Args:
            image: (B, input_channels, *spatial), axes multiples of the total stride.
            features: encoder tokens of each level (B, *spatial, channels).

        Returns:
            One tensor (B, Nc, *spatial) a level.
        """
        image_features, edges = self.image_stem(image), self.edge_stem(image)
        attention = []
        for level, tokens in enumerate(features):
            if level > 0:
                stride = self.strides[level + 1]
                image_features, edges = (average_pool(grid, stride, stride) for grid in (image_features, edges))
            normalised = instance_normalise(image_features), instance_normalise(edges)
            attention.append(self.seg_layers[level](*normalised, tokens))
        return attention

    def modulate(self, level: int, x: Tensor, attention: Tensor) -> tuple[Tensor, Tensor]:
        """Tune the decoder tokens of a level; see `TCMALevel.modulate`."""
        return self.seg_layers[level].modulate(x, attention)

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> int:
        """Feature-map elements kept for the backward pass of one sample of that size."""
        edge_conv = self.edge_stem[1]
        full = prod(input_size) * (edge_conv.in_channels + 2 * edge_conv.out_channels)
        first, second = self.image_stem[0], self.image_stem[3]
        half = prod(input_size) // prod(first.stride)
        size, grid = full + (3 * half + 3 * half // prod(second.stride)) * first.out_channels, list(input_size)
        for level, stride in zip(self.seg_layers, self.strides[1:], strict=True):
            grid = [length // step for length, step in zip(grid, stride, strict=True)]
            size += level.compute_conv_feature_map_size(grid)
        return size


def _larger_factor(stride: int) -> int:
    """The larger of two factors of a stride that are as equal as can be: 4 gives 2, 8 gives 4, 3 gives 3."""
    return next(factor for factor in range(isqrt(stride - 1) + 1, stride + 1) if stride % factor == 0)
