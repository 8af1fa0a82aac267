"""The encoder of the VSS networks."""

from collections.abc import Collection, Sequence
from itertools import accumulate
from math import prod
from operator import mul
from typing import NamedTuple, Protocol

from torch import Tensor, nn

from nnunetv2_mamba.building_blocks.checkpointing import BlockSequence
from nnunetv2_mamba.building_blocks.conv_encoder import ConvEncoder
from nnunetv2_mamba.building_blocks.drop_path import linear_rates
from nnunetv2_mamba.building_blocks.init import init_vss_weights
from nnunetv2_mamba.building_blocks.patches import PatchEmbed, PatchMerging


class BlockFactory(Protocol):
    """Makes a block, tokens (B, *spatial, C) to tokens of the same shape."""

    def __call__(self, level: int, channels: int, drop_path_rate: float) -> nn.Module:
        """A block of a level (0 the finest), of the width C and with a drop-path rate."""
        ...


class EncodedImage(NamedTuple):
    """What the encoder returns, finest level first.

    Attributes:
        skips: input of each stage of blocks, tokens (B, *spatial, C).
        features: output of each stage's blocks, before merging, tokens (B, *spatial, C).
        details: output of each convolutional stage (B, C, *spatial); none where patches of the image are embedded.
    """

    skips: list[Tensor]
    features: list[Tensor]
    details: Sequence[Tensor] = ()


class VSSStage(nn.Module):
    """Blocks of one resolution, followed by a patch merging except at the coarsest level.

    Args:
        blocks: the blocks.
        downsample: what leads to the next level, or None.
    """

    def __init__(self, blocks: BlockSequence, downsample: PatchMerging | None) -> None:
        super().__init__()
        self.blocks = blocks
        self.downsample = downsample


class VSSEncoder(nn.Module):
    """Patch embedding, then stages of blocks with a patch merging in between. Names as in VMamba v0.

    With a stem, the patches are cut from the output of its coarsest stage instead of the image.

    Args:
        input_channels: channels of the image.
        features_per_stage: width of each stage of blocks, finest first.
        strides: per-axis strides; entry 0 belongs to the full-resolution image and is all ones. Without a stem, entry 1
            is the patch size, the rest are the mergings. With a stem, there is an entry for each of its stages, then
            the patch size and the mergings.
        n_blocks_per_stage: number of blocks of each stage.
        conv_op: `nn.Conv2d` or `nn.Conv3d`.
        make_block: makes a block from its level, width and drop-path rate.
        drop_path_rate: rate of the last block; it rises linearly from 0.
        stem: convolutional stages at the finest resolutions, or None.
        checkpointed_stages: levels under activation checkpointing, 0 the finest, those of the stem first.
    """

    def __init__(
        self,
        input_channels: int,
        features_per_stage: Sequence[int],
        *,
        strides: Sequence[Sequence[int]],
        n_blocks_per_stage: Sequence[int],
        conv_op: type[nn.Module],
        make_block: BlockFactory,
        drop_path_rate: float = 0.0,
        stem: ConvEncoder | None = None,
        checkpointed_stages: Collection[int] = (),
    ) -> None:
        super().__init__()
        self.stem = stem
        self.output_channels = list(features_per_stage)
        self.strides = [tuple(stride) for stride in strides]
        self.conv_op = conv_op
        embedded = input_channels if stem is None else stem.output_channels[-1]
        patch_size, *mergings = self.strides[self.first_stride :]
        self.patch_embed = PatchEmbed(embedded, features_per_stage[0], patch_size, conv_op=conv_op)
        stages = []
        for stage, rates in enumerate(linear_rates(drop_path_rate, n_blocks_per_stage)):
            width, level = features_per_stage[stage], self.conv_levels + stage
            coarsest = stage + 1 == len(features_per_stage)
            merge = None if coarsest else PatchMerging(width, features_per_stage[stage + 1], mergings[stage])
            blocks = BlockSequence(
                *(make_block(level, width, rate) for rate in rates), checkpointed=level in checkpointed_stages
            )
            stages.append(VSSStage(blocks, merge))
        self.layers = nn.ModuleList(stages)
        self.apply(init_vss_weights)

    @property
    def conv_levels(self) -> int:
        """How many levels are convolutional, which are the finest."""
        return 0 if self.stem is None else len(self.stem.output_channels)

    @property
    def first_stride(self) -> int:
        """Entry of `strides` that is the patch size; those before it are finer."""
        return self.conv_levels or 1

    @property
    def smallest_input(self) -> tuple[int, ...]:
        """Per axis, the size of one patch of the image; with a stem, of one voxel."""
        return self.strides[1 if self.stem is None else 0]

    def forward(self, x: Tensor) -> EncodedImage:
        """Encode an image (B, input_channels, *spatial) whose axes are multiples of the total stride."""
        skips, features = [], []
        details = [] if self.stem is None else self.stem(x)
        x = self.patch_embed(details[-1] if details else x)
        for layer in self.layers:
            skips.append(x)
            x = layer.blocks(x)
            features.append(x)
            if layer.downsample is not None:
                x = layer.downsample(x)
        return EncodedImage(skips, features, details)

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> int:
        """Feature-map elements kept for the backward pass of one sample of that size."""
        tokens = self.tokens_per_stage(input_size)
        if self.stem is None:
            size = prod(input_size) * self.patch_embed.proj.in_channels
        else:
            size = self.stem.compute_conv_feature_map_size(input_size)
        size += self.patch_embed.compute_conv_feature_map_size(tokens[0])
        for stage, layer in enumerate(self.layers):
            size += layer.blocks.compute_conv_feature_map_size(tokens[stage])
            if layer.downsample is not None:
                size += layer.downsample.compute_conv_feature_map_size(tokens[stage + 1])
        return size

    def recomputed_feature_map_size(self, input_size: Sequence[int]) -> int:
        """Most feature-map elements of one sample of that size that activation checkpointing computes again at once."""
        tokens = self.tokens_per_stage(input_size)
        sizes = [layer.blocks.recomputed_feature_map_size(n) for n, layer in zip(tokens, self.layers, strict=True)]
        return max(sizes if self.stem is None else [*sizes, self.stem.recomputed_feature_map_size(input_size)])

    def tokens_per_stage(self, input_size: Sequence[int]) -> list[int]:
        """Number of tokens of each stage of blocks for an image of that size, finest first."""
        return self.positions(input_size)[self.first_stride :]

    def positions(self, input_size: Sequence[int]) -> list[int]:
        """Number of positions for each entry of `strides` and an image of that size, full resolution first."""
        return [prod(input_size) // cell for cell in accumulate((prod(step) for step in self.strides), mul)]
