"""The encoder of convolutional stages, with a layer of another kind behind each stage."""

from collections.abc import Callable, Collection, Sequence
from itertools import accumulate, chain
from math import prod
from operator import mul

from torch import Tensor, nn

from nnunetv2_mamba.building_blocks.checkpointing import BlockSequence
from nnunetv2_mamba.building_blocks.conv_blocks import ConvBlock, ConvStem, ResidualConvBlock

LayerFactory = Callable[[int, int], nn.Module]
"""Makes the layer of a level, grid (B, C, *spatial) to grid of the same shape, from the level (0 the finest) and C."""


class IdentityLayer(nn.Identity):
    """A layer that changes nothing.

    Args:
        channels: C, width of input and output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def compute_conv_feature_map_size(self, tokens: int) -> int:
        """Feature-map elements kept for the backward pass: none."""
        return 0


class ConvEncoder(nn.Module):
    """A stem at full resolution, then stages of convolution blocks, each followed by a layer.

    What a layer gives goes to the next stage and, as skip, to the decoder.

    Args:
        input_channels: channels of the image.
        features_per_stage: width of each stage, finest first.
        strides: per-axis strides of the stages; the first are ones.
        kernel_sizes: per-axis kernel sizes of the stages.
        n_blocks_per_stage: number of blocks of each stage.
        conv_op: `nn.Conv2d` or `nn.Conv3d`.
        make_layer: makes the layer behind a stage from its level and width; `IdentityLayer` for a stage without one.
        make_block: makes the blocks, residual or plain.
        checkpointed_stages: those under activation checkpointing, 0 the finest.
    """

    def __init__(
        self,
        input_channels: int,
        features_per_stage: Sequence[int],
        *,
        strides: Sequence[Sequence[int]],
        kernel_sizes: Sequence[Sequence[int]],
        n_blocks_per_stage: Sequence[int],
        conv_op: type[nn.Module],
        make_layer: LayerFactory,
        make_block: ConvBlock = ResidualConvBlock,
        checkpointed_stages: Collection[int] = (),
    ) -> None:
        super().__init__()
        self.output_channels = list(features_per_stage)
        self.strides = [tuple(stride) for stride in strides]
        self.kernel_sizes = [tuple(kernel) for kernel in kernel_sizes]
        self.conv_op = conv_op
        self.stem = ConvStem(conv_op, input_channels, features_per_stage[0], kernel_size=kernel_sizes[0])
        self.stages, self.layers = nn.ModuleList(), nn.ModuleList()
        below = features_per_stage[0]
        for level, width in enumerate(features_per_stage):
            stride, checkpointed = strides[level], level in checkpointed_stages
            widths = [below, *[width] * n_blocks_per_stage[level]]
            blocks = [
                make_block(
                    conv_op,
                    widths[i],
                    width,
                    kernel_size=kernel_sizes[level],
                    stride=stride if i == 0 else (1,) * len(stride),
                )
                for i in range(n_blocks_per_stage[level])
            ]
            self.stages.append(BlockSequence(*blocks, checkpointed=checkpointed))
            self.layers.append(BlockSequence(make_layer(level, width), checkpointed=checkpointed))
            below = width

    @property
    def smallest_input(self) -> tuple[int, ...]:
        """Per axis, one position."""
        return self.strides[0]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Encode an image (B, input_channels, *spatial) whose axes are multiples of the total stride.

        Returns:
            What each stage and its layer give, finest first, (B, C, *spatial).
        """
        skips = []
        x = self.stem(x)
        for stage, layer in zip(self.stages, self.layers, strict=True):
            x = layer(stage(x))
            skips.append(x)
        return skips

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> int:
        """Feature-map elements kept for the backward pass of one sample of that size."""
        tokens = self.tokens_per_stage(input_size)
        size = self.stem.compute_conv_feature_map_size(tokens[0])
        for count, *parts in zip(tokens, self.stages, self.layers, strict=True):
            size += sum(part.compute_conv_feature_map_size(count) for part in parts)
        return size

    def recomputed_feature_map_size(self, input_size: Sequence[int]) -> int:
        """Most feature-map elements of one sample of that size that activation checkpointing computes again at once."""
        parts = chain(self.stages, self.layers)
        tokens = self.tokens_per_stage(input_size)
        return max(part.recomputed_feature_map_size(n) for n, part in zip(tokens * 2, parts, strict=True))

    def tokens_per_stage(self, input_size: Sequence[int]) -> list[int]:
        """Number of positions of each stage for an image of that size, finest first."""
        return [prod(input_size) // cell for cell in accumulate((prod(step) for step in self.strides), mul)]
