"""The decoder of the VSS networks."""

from collections.abc import Collection, Sequence
from itertools import chain

from dynamic_network_architectures.initialization.weight_init import InitWeights_He
from torch import Tensor, nn

from nnunetv2_mamba.building_blocks.checkpointing import BlockSequence
from nnunetv2_mamba.building_blocks.conv_blocks import PlainConvBlock
from nnunetv2_mamba.building_blocks.conv_decoder import ConvUpStage
from nnunetv2_mamba.building_blocks.drop_path import linear_rates
from nnunetv2_mamba.building_blocks.init import init_vss_weights
from nnunetv2_mamba.building_blocks.layout import channels_first, channels_last, pointwise
from nnunetv2_mamba.building_blocks.patches import FinalPatchExpand, PatchExpand
from nnunetv2_mamba.building_blocks.tcma import TCMA
from nnunetv2_mamba.building_blocks.vss_encoder import BlockFactory, EncodedImage, VSSEncoder


class VSSUpStage(nn.Module):
    """A patch expanding, except at the coarsest level, followed by blocks.

    Args:
        upsample: what leads here from the coarser level, or None.
        blocks: the blocks.
    """

    def __init__(self, upsample: PatchExpand | None, blocks: BlockSequence) -> None:
        super().__init__()
        self.upsample = upsample
        self.blocks = blocks

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, *spatial, C) of the coarser level to those of this one."""
        return self.blocks(x if self.upsample is None else self.upsample(x))


class VSSDecoder(nn.Module):
    """Stages of blocks from coarse to fine with additive skips, then what leads to full resolution, and the heads.

    Skips are the inputs of the encoder's stages, added behind the decoder stage of the same level. Without a stem, the
    last step is VM-UNet's patch expanding. With a stem, there is a convolutional stage for each stage of the stem,
    which joins its output as nnU-Net does. Source: VM-UNet, arXiv 2402.02491; the convolutional stages, nnU-Net.

    Args:
        encoder: tells widths, strides, stem and dimension; not stored.
        num_classes: channels of the logits.
        n_blocks_per_stage: number of blocks of each stage, coarsest first; of a convolutional stage, of convolutions.
        make_block: makes a block from its level, width and drop-path rate.
        drop_path_rate: rate of the coarsest block; it falls linearly to 0.
        finest_skip: whether the skip of the finest stage of blocks is used, which VM-UNet leaves out.
        side_heads: whether each level but the coarsest has a 1x1 head for deep supervision. Where that is off, training
            gives them gradients of zero, because DDP waits for a gradient of every parameter.
        tcma: attention that modulates each level below full resolution; its masks then are the side outputs.
        deep_supervision: whether side outputs are returned.
        checkpointed_stages: levels under activation checkpointing, 0 the finest, to which the expansion to full
            resolution belongs. TCMA never is: it keeps little.
    """

    def __init__(
        self,
        encoder: VSSEncoder,
        num_classes: int,
        n_blocks_per_stage: Sequence[int],
        *,
        make_block: BlockFactory,
        drop_path_rate: float = 0.0,
        finest_skip: bool = False,
        side_heads: bool = False,
        tcma: TCMA | None = None,
        deep_supervision: bool = False,
        checkpointed_stages: Collection[int] = (),
    ) -> None:
        super().__init__()
        widths, steps = encoder.output_channels, encoder.strides[encoder.first_stride + 1 :]
        self.finest_skip = finest_skip
        self.layers = nn.ModuleList()
        of_blocks, of_convolutions = n_blocks_per_stage[: len(widths)], n_blocks_per_stage[len(widths) :]
        rates = reversed(list(chain.from_iterable(linear_rates(drop_path_rate, of_blocks))))
        for stage, n_blocks in zip(reversed(range(len(widths))), of_blocks, strict=True):
            level = encoder.conv_levels + stage
            coarsest = stage + 1 == len(widths)
            upsample = None if coarsest else PatchExpand(widths[stage + 1], widths[stage], steps[stage])
            blocks = [make_block(level, widths[stage], next(rates)) for _ in range(n_blocks)]
            sequence = BlockSequence(*blocks, checkpointed=level in checkpointed_stages)
            self.layers.append(VSSUpStage(upsample, sequence))
        self.final_expand = None
        if encoder.stem is None:
            self.final_expand = FinalPatchExpand(widths[0], encoder.strides[1], checkpointed=0 in checkpointed_stages)
            finer = [self.final_expand.output_channels]
        else:
            finer = encoder.stem.output_channels
        self.apply(init_vss_weights)
        head_widths = [*finer, *widths[:-1]]
        self.conv_stages = _conv_stages(encoder, of_convolutions, checkpointed_stages)
        self.tcma = tcma
        # nnU-Net's -pretrained_weights leaves out what lies below `seg_layers`. Full resolution first, then the levels.
        self.seg_layers = nn.ModuleList(
            encoder.conv_op(width, num_classes, 1) for width in (head_widths if side_heads else head_widths[:1])
        )
        self._can_supervise = side_heads or tcma is not None
        self.deep_supervision = deep_supervision

    @property
    def deep_supervision(self) -> bool:
        """Whether side outputs are returned. Setting it raises a ValueError where the network has none."""
        return self._deep_supervision

    @deep_supervision.setter
    def deep_supervision(self, enabled: bool) -> None:
        if enabled and not self._can_supervise:
            raise ValueError(
                "deep_supervision is True but this network has no side outputs; build it with side_heads=True"
            )
        self._deep_supervision = bool(enabled)

    def forward(self, image: Tensor, encoded: EncodedImage) -> list[Tensor]:
        """Logits of an image (B, channels, *spatial), full resolution first.

        Returns:
            One tensor (B, num_classes, *spatial) or, with deep supervision, one more for each entry of the encoder's
            strides but the first and the last.
        """
        finer = len(encoded.details) or 1
        attention = []
        if self.tcma is not None:
            attention = self.tcma(image, [*map(channels_last, encoded.details[1:]), *encoded.features])
        side_outputs = []
        coarsest = len(encoded.features) - 1
        x = encoded.features[-1]
        for stage, layer in zip(range(coarsest, -1, -1), self.layers, strict=True):
            x, mask = self._supervised(finer + stage, layer(x), attention, head=stage < coarsest)
            if stage < coarsest:
                side_outputs.append(mask)
            if stage > 0 or self.finest_skip:
                x = x + encoded.skips[stage]
        if self.final_expand is None:
            logits = self._to_pixels(x, encoded.details, attention, side_outputs)
        else:
            logits = self.final_expand.segment(x, self.seg_layers[0])
        if self.deep_supervision:
            return [logits, *reversed(side_outputs)]
        idle_heads = self.seg_layers[1:]
        if self.training and len(idle_heads) > 0:
            logits = logits + 0 * sum(parameter.sum() for parameter in idle_heads.parameters())
        return [logits]

    def _to_pixels(
        self, x: Tensor, details: Sequence[Tensor], attention: Sequence[Tensor], side_outputs: list[Tensor | None]
    ) -> Tensor:
        """Logits from the tokens of the finest stage of blocks, by the convolutional stages; adds to `side_outputs`."""
        x = channels_first(x)
        for level, stage in zip(reversed(range(len(details))), self.conv_stages, strict=True):
            x = stage(x, details[level])
            if level > 0:
                tokens, mask = self._supervised(level, channels_last(x), attention, head=True)
                x = channels_first(tokens)
                side_outputs.append(mask)
        return self.seg_layers[0](x)

    def _supervised(
        self, index: int, x: Tensor, attention: Sequence[Tensor], *, head: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Tokens of a level, modulated where there is TCMA, and its side output (B, num_classes, *spatial).

        Args:
            index: of the level among the encoder's strides.
            x: tokens (B, *spatial, C).
            attention: what TCMA returned.
            head: whether the level has a head where there is no TCMA.
        """
        if self.tcma is not None:
            return self.tcma.modulate(index - 1, x, attention[index - 1])
        if self.deep_supervision and head:
            return x, channels_first(pointwise(self.seg_layers[index], x))
        return x, None

    def compute_conv_feature_map_size(self, encoder: VSSEncoder, input_size: Sequence[int]) -> int:
        """Feature-map elements kept for the backward pass of one sample of that size."""
        tokens, positions = encoder.tokens_per_stage(input_size), encoder.positions(input_size)
        size = 0
        for stage, layer in zip(reversed(range(len(tokens))), self.layers, strict=True):
            if layer.upsample is not None:
                size += layer.upsample.compute_conv_feature_map_size(tokens[stage + 1])
            size += layer.blocks.compute_conv_feature_map_size(tokens[stage])
        for count, head in zip(positions[1:], self.seg_layers[1:], strict=False):
            size += count * head.in_channels
        if self.final_expand is not None:
            size += self.final_expand.compute_conv_feature_map_size(tokens[0])
        for stage, count in self._conv_stages_and_positions(encoder, input_size):
            size += stage.compute_conv_feature_map_size(count)
        return size if self.tcma is None else size + self.tcma.compute_conv_feature_map_size(input_size)

    def recomputed_feature_map_size(self, encoder: VSSEncoder, input_size: Sequence[int]) -> int:
        """Most feature-map elements of one sample of that size that activation checkpointing computes again at once."""
        tokens = encoder.tokens_per_stage(input_size)
        blocks = zip(reversed(tokens), self.layers, strict=True)
        sizes = [layer.blocks.recomputed_feature_map_size(count) for count, layer in blocks]
        if self.final_expand is not None:
            sizes.append(self.final_expand.recomputed_feature_map_size(tokens[0]))
        pairs = self._conv_stages_and_positions(encoder, input_size)
        return max(sizes + [stage.recomputed_feature_map_size(count) for stage, count in pairs])

    def _conv_stages_and_positions(
        self, encoder: VSSEncoder, input_size: Sequence[int]
    ) -> list[tuple[ConvUpStage, int]]:
        positions = encoder.positions(input_size)[: encoder.conv_levels]
        return list(zip(self.conv_stages, reversed(positions), strict=True))


def _conv_stages(
    encoder: VSSEncoder, n_blocks_per_stage: Sequence[int], checkpointed_stages: Collection[int]
) -> nn.ModuleList:
    """The convolutional stages that lead from the finest stage of blocks to full resolution; none without a stem."""
    if encoder.stem is None:
        return nn.ModuleList()
    widths = [*encoder.stem.output_channels, encoder.output_channels[0]]
    stages = nn.ModuleList(
        ConvUpStage(
            encoder.conv_op,
            widths[level + 1],
            widths[level],
            kernel_size=encoder.stem.kernel_sizes[level],
            stride=encoder.strides[level + 1],
            n_blocks=n_blocks,
            checkpointed=level in checkpointed_stages,
            make_block=PlainConvBlock,
        )
        for level, n_blocks in zip(reversed(range(encoder.conv_levels)), n_blocks_per_stage, strict=True)
    )
    return stages.apply(InitWeights_He(1e-2))
