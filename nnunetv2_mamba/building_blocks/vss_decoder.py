"""The decoder of the VSS networks."""

from collections.abc import Collection, Sequence
from itertools import chain

from torch import Tensor, nn

from nnunetv2_mamba.building_blocks.checkpointing import BlockSequence
from nnunetv2_mamba.building_blocks.drop_path import linear_rates
from nnunetv2_mamba.building_blocks.init import init_vss_weights
from nnunetv2_mamba.building_blocks.layout import channels_first, pointwise
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
    """Stages from coarse to fine with additive skips, then the expansion to full resolution and the segmentation head.

    Skips are the inputs of the encoder's stages, added behind the decoder stage of the same level. The published
    networks leave out the finest one; ``finest_skip`` puts it in. Source: VM-UNet, arXiv 2402.02491.

    Args:
        encoder: tells widths, strides and dimension; not stored.
        num_classes: channels of the logits.
        n_blocks_per_stage: number of blocks of each stage, coarsest first.
        make_block: makes a block from its level, width and drop-path rate.
        drop_path_rate: rate of the coarsest block; it falls linearly to 0.
        finest_skip: whether the finest skip is used.
        side_heads: whether each level but the coarsest has a 1x1 head for deep supervision. Where that is off, training
            gives them gradients of zero, because DDP waits for a gradient of every parameter.
        tcma: attention that modulates each level, whose masks then are the side outputs.
        deep_supervision: whether side outputs are returned.
        checkpointed_stages: those whose blocks are recomputed in the backward pass, 0 the finest, to which the
            expansion to full resolution belongs. TCMA never is: it keeps little.
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
        widths, strides = encoder.output_channels, encoder.strides
        self.finest_skip = finest_skip
        self.layers = nn.ModuleList()
        rates = reversed(list(chain.from_iterable(linear_rates(drop_path_rate, n_blocks_per_stage))))
        for level, n_blocks in zip(reversed(range(len(widths))), n_blocks_per_stage, strict=True):
            coarsest = level + 1 == len(widths)
            upsample = None if coarsest else PatchExpand(widths[level + 1], widths[level], strides[level + 2])
            blocks = [make_block(level, widths[level], next(rates)) for _ in range(n_blocks)]
            sequence = BlockSequence(*blocks, checkpointed=level in checkpointed_stages)
            self.layers.append(VSSUpStage(upsample, sequence))
        self.final_expand = FinalPatchExpand(widths[0], strides[1], checkpointed=0 in checkpointed_stages)
        self.apply(init_vss_weights)
        self.tcma = tcma
        # nnU-Net's -pretrained_weights leaves out what lies below `seg_layers`. Full resolution first, then the levels.
        head_widths = [self.final_expand.output_channels, *(widths[:-1] if side_heads else [])]
        self.seg_layers = nn.ModuleList(encoder.conv_op(width, num_classes, 1) for width in head_widths)
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
            One tensor (B, num_classes, *spatial) or, with deep supervision, one more for each level but the coarsest.
        """
        attention = [] if self.tcma is None else self.tcma(image, encoded.features)
        side_outputs = []
        coarsest = len(encoded.features) - 1
        x = encoded.features[-1]
        for level, layer in zip(range(coarsest, -1, -1), self.layers, strict=True):
            x = layer(x)
            mask = None
            if self.tcma is not None:
                x, mask = self.tcma.modulate(level, x, attention[level])
            elif self.deep_supervision and level < coarsest:
                mask = channels_first(pointwise(self.seg_layers[level + 1], x))
            if level < coarsest:
                side_outputs.append(mask)
            if level > 0 or self.finest_skip:
                x = x + encoded.skips[level]
        logits = self.final_expand.segment(x, self.seg_layers[0])
        if self.deep_supervision:
            return [logits, *reversed(side_outputs)]
        idle_heads = self.seg_layers[1:]
        if self.training and len(idle_heads) > 0:
            logits = logits + 0 * sum(parameter.sum() for parameter in idle_heads.parameters())
        return [logits]

    def compute_conv_feature_map_size(self, encoder: VSSEncoder, input_size: Sequence[int]) -> int:
        """Feature-map elements kept for the backward pass of one sample of that size."""
        tokens = encoder.tokens_per_stage(input_size)
        size = 0
        for level, layer in zip(reversed(range(len(tokens))), self.layers, strict=True):
            if layer.upsample is not None:
                size += layer.upsample.compute_conv_feature_map_size(tokens[level + 1])
            size += layer.blocks.compute_conv_feature_map_size(tokens[level])
        for level, head in enumerate(self.seg_layers[1:]):
            size += tokens[level] * head.in_channels
        size += self.final_expand.compute_conv_feature_map_size(tokens[0])
        return size if self.tcma is None else size + self.tcma.compute_conv_feature_map_size(input_size)

    def recomputed_feature_map_size(self, encoder: VSSEncoder, input_size: Sequence[int]) -> int:
        """Most feature-map elements that the backward pass makes anew at a time, for one sample of that size."""
        tokens = encoder.tokens_per_stage(input_size)
        blocks = zip(reversed(tokens), self.layers, strict=True)
        sizes = [layer.blocks.recomputed_feature_map_size(count) for count, layer in blocks]
        return max(*sizes, self.final_expand.recomputed_feature_map_size(tokens[0]))
