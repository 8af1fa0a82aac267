"""The decoder of convolutional stages."""

from collections.abc import Collection, Sequence

import torch
from dynamic_network_architectures.building_blocks.helper import get_matching_convtransp
from torch import Tensor, nn

from nnunetv2_mamba.building_blocks.checkpointing import checkpointed
from nnunetv2_mamba.building_blocks.conv_blocks import ConvBlock, ResidualConvBlock
from nnunetv2_mamba.building_blocks.conv_encoder import ConvEncoder


class ConvUpStage(nn.Module):
    """A transposed convolution, the skip beside it, and convolution blocks.

    Args:
        conv_op: `nn.Conv2d` or `nn.Conv3d`.
        input_channels: width of the coarser level.
        channels: width of this level and of its skip.
        kernel_size: per axis, of the blocks.
        stride: per axis, from the coarser level to this one; the kernel of the transposed convolution is as large.
        n_blocks: number of blocks.
        checkpointed: whether activation checkpointing keeps only the inputs of the stage and of its blocks.
        make_block: makes the blocks, residual or plain.
    """

    def __init__(
        self,
        conv_op: type[nn.Module],
        input_channels: int,
        channels: int,
        *,
        kernel_size: Sequence[int],
        stride: Sequence[int],
        n_blocks: int,
        checkpointed: bool,
        make_block: ConvBlock = ResidualConvBlock,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.checkpointed = checkpointed
        self.transpconv = get_matching_convtransp(conv_op)(input_channels, channels, tuple(stride), tuple(stride))
        self.blocks = nn.ModuleList(
            make_block(
                conv_op,
                2 * channels if i == 0 else channels,
                channels,
                kernel_size=kernel_size,
                stride=(1,) * len(stride),
            )
            for i in range(n_blocks)
        )

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Grids x of the coarser level and skip of this one to a grid of this one, all (B, C, *spatial)."""
        enabled = self.checkpointed and self.training
        x = checkpointed(self._join, x, skip, enabled=enabled)
        for block in self.blocks[1:]:
            x = checkpointed(block, x, enabled=enabled)
        return x

    def _join(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.blocks[0](torch.cat((self.transpconv(x), skip), dim=1))

    def compute_conv_feature_map_size(self, tokens: int) -> int:
        """Feature-map elements kept for the backward pass, for so many positions of this level."""
        if self.checkpointed:
            return tokens * self.channels * len(self.blocks)
        return sum(self._kept_per_block(tokens))

    def recomputed_feature_map_size(self, tokens: int) -> int:
        """Feature-map elements that activation checkpointing computes again at a time, inputs of the blocks aside."""
        return max(self._kept_per_block(tokens)) - tokens * self.channels if self.checkpointed else 0

    def _kept_per_block(self, tokens: int) -> list[int]:
        kept = [block.compute_conv_feature_map_size(tokens) for block in self.blocks]
        return [kept[0] + tokens * 2 * self.channels, *kept[1:]]


class ConvDecoder(nn.Module):
    """Stages from coarse to fine, each with a 1x1 convolution to logits.

    Of a single-stage encoder there is nothing to decode: its output has the head.

    Args:
        encoder: tells widths, strides, kernels and dimension; not stored.
        num_classes: channels of the logits.
        n_blocks_per_stage: number of blocks of each stage, coarsest first; one entry less than the encoder's.
        deep_supervision: whether the coarser logits are returned too. Where that is off, training gives their heads
            gradients of zero, because DDP waits for a gradient of every parameter.
        make_block: makes the blocks, residual or plain.
        checkpointed_stages: those under activation checkpointing, 0 the finest.
    """

    def __init__(
        self,
        encoder: ConvEncoder,
        num_classes: int,
        n_blocks_per_stage: Sequence[int],
        *,
        deep_supervision: bool = False,
        make_block: ConvBlock = ResidualConvBlock,
        checkpointed_stages: Collection[int] = (),
    ) -> None:
        super().__init__()
        widths = encoder.output_channels
        self.deep_supervision = deep_supervision
        self.stages = nn.ModuleList(
            ConvUpStage(
                encoder.conv_op,
                widths[level + 1],
                widths[level],
                kernel_size=encoder.kernel_sizes[level],
                stride=encoder.strides[level + 1],
                n_blocks=n_blocks,
                make_block=make_block,
                checkpointed=level in checkpointed_stages,
            )
            for level, n_blocks in zip(reversed(range(len(widths) - 1)), n_blocks_per_stage, strict=True)
        )
        # nnU-Net's -pretrained_weights leaves out what lies below `seg_layers`. Finest first.
        self.seg_layers = nn.ModuleList(
            encoder.conv_op(width, num_classes, 1) for width in widths[: len(widths) - 1 or 1]
        )

    def forward(self, skips: Sequence[Tensor]) -> list[Tensor]:
        """Logits from the encoder's skips, finest first, all (B, C, *spatial).

        Returns:
            One tensor (B, num_classes, *spatial) of full resolution or, with deep supervision, one for each level but
            the coarsest, finest first.
        """
        x = skips[-1]
        decoded = [] if self.stages else [x]
        for stage, skip in zip(self.stages, reversed(skips[:-1]), strict=True):
            x = stage(x, skip)
            decoded.insert(0, x)
        if self.deep_supervision:
            return [head(x) for head, x in zip(self.seg_layers, decoded, strict=True)]
        logits = self.seg_layers[0](x)
        idle_heads = self.seg_layers[1:]
        if self.training and len(idle_heads) > 0:
            logits = logits + 0 * sum(parameter.sum() for parameter in idle_heads.parameters())
        return [logits]

    def compute_conv_feature_map_size(self, encoder: ConvEncoder, input_size: Sequence[int]) -> int:
        """Feature-map elements kept for the backward pass of one sample of that size."""
        return sum(stage.compute_conv_feature_map_size(n) for stage, n in self._stages_and_tokens(encoder, input_size))

    def recomputed_feature_map_size(self, encoder: ConvEncoder, input_size: Sequence[int]) -> int:
        """Most feature-map elements of one sample of that size that activation checkpointing computes again at once."""
        pairs = self._stages_and_tokens(encoder, input_size)
        return max((stage.recomputed_feature_map_size(n) for stage, n in pairs), default=0)

    def _stages_and_tokens(self, encoder: ConvEncoder, input_size: Sequence[int]) -> list[tuple[nn.Module, int]]:
        tokens = encoder.tokens_per_stage(input_size)[:-1]
        return list(zip(self.stages, reversed(tokens), strict=True))
