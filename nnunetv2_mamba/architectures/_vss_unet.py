"""What VM-UNet and its relatives share: an encoder and a decoder of VSS-like blocks."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from nnunetv2_mamba.architectures._contract import (
    PerAxis,
    PerStage,
    UShapedNetwork,
    blocks_per_stage,
    check_stages,
    required,
    strides_per_axis,
)
from nnunetv2_mamba.building_blocks.layout import spatial_dims
from nnunetv2_mamba.building_blocks.tcma import TCMA
from nnunetv2_mamba.building_blocks.vss_decoder import VSSDecoder
from nnunetv2_mamba.building_blocks.vss_encoder import BlockFactory, VSSEncoder

FEATURES_PER_STAGE = (96, 192, 384, 768)
"""Published widths; their number is the largest number of levels that a plan can give."""

PATCH_EMBED_STAGES = 3
"""How many of the plan's stages the patch embedding replaces: strides 1, 2, 2 make the published 4x4 patches."""


class VSSUNet(UShapedNetwork):
    """U-shaped network of VSS-like blocks; subclasses say which block and whether there is TCMA.

    Args:
        input_channels: channels of the image.
        num_classes: channels of the logits.
        features_per_stage: width of each stage, finest first.
        strides: per stage a number or one per axis; entry 0 is the full-resolution image (ones), entry 1 the patch
            size, the rest the mergings. One entry more than there are stages, so that nnU-Net's formula
            1 / cumprod(strides)[:-1] gives the scales of the outputs.
        n_blocks_per_stage: blocks of each encoder stage, finest first.
        n_blocks_per_stage_decoder: blocks of each decoder stage, coarsest first.
        conv_op: `nn.Conv2d` or `nn.Conv3d`.
        make_block: makes a block from its level, width and drop-path rate.
        drop_path_rate: rate of the deepest blocks; it rises linearly in the encoder and falls linearly in the decoder.
        finest_skip: whether the skip of the finest level, which the published networks drop, is used.
        side_heads: whether 1x1 heads for deep supervision are built.
        tcma: attention of S3-Mamba, or None.
        deep_supervision: whether side outputs are returned.
        checkpointed_stages: levels, 0 the finest, whose encoder and decoder blocks are computed a second time in the
            backward pass instead of kept in memory; the result is the same.
        make_decoder_block: makes the decoder's blocks where they are others than the encoder's.

    Raises:
        ValueError: lengths of the arguments do not fit, deep supervision lacks side outputs, or there is no such level.
    """

    published_weights: ClassVar = frozenset({"VMamba"})

    @classmethod
    def from_plan(cls, configuration: Mapping[str, Any], **overrides: Any) -> dict[str, Any]:
        """Constructor arguments of a network that downsamples as the planned U-Net does; see `UShapedNetwork`.

        The patch embedding's stride is the product of the plan's first three strides. The mergings take the strides
        that follow. There are as many levels as the plan has strides for, at most as many as widths.
        """
        planned = required(configuration, "strides", "conv_op")
        widths = overrides.pop("features_per_stage", FEATURES_PER_STAGE)
        strides = np.asarray(planned["strides"], dtype=int)
        mergings = strides[PATCH_EMBED_STAGES:][: len(widths) - 1]
        patch_size = strides[:PATCH_EMBED_STAGES].prod(axis=0)
        n_levels = 1 + len(mergings)
        return {
            "features_per_stage": list(widths[:n_levels]),
            "strides": np.stack([np.ones_like(patch_size), patch_size, *mergings]).tolist(),
            "n_blocks_per_stage": [2] * n_levels,
            "n_blocks_per_stage_decoder": [2] * (n_levels - 1) + [1],
            "conv_op": planned["conv_op"],
            **overrides,
        }

    @classmethod
    def token_size(cls, arch_kwargs: Mapping[str, Any]) -> list[int]:
        """Size of a patch of the patch embedding; the first stride is the image itself."""
        return [int(step) for step in arch_kwargs["strides"][1]]

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        *,
        features_per_stage: Sequence[int],
        strides: Sequence[PerAxis],
        n_blocks_per_stage: PerStage,
        n_blocks_per_stage_decoder: PerStage,
        conv_op: type[nn.Module],
        make_block: BlockFactory,
        drop_path_rate: float,
        finest_skip: bool,
        side_heads: bool,
        tcma: TCMA | None = None,
        deep_supervision: bool,
        checkpointed_stages: Sequence[int],
        make_decoder_block: BlockFactory | None = None,
    ) -> None:
        super().__init__(input_channels)
        n_stages = len(features_per_stage)
        encoder_blocks = blocks_per_stage(n_blocks_per_stage, n_stages, "n_blocks_per_stage")
        decoder_blocks = blocks_per_stage(n_blocks_per_stage_decoder, n_stages, "n_blocks_per_stage_decoder")
        strides = strides_per_axis(strides, n_stages, spatial_dims(conv_op))
        check_stages(checkpointed_stages, n_stages)
        self.encoder = VSSEncoder(
            input_channels,
            features_per_stage,
            strides=strides,
            n_blocks_per_stage=encoder_blocks,
            conv_op=conv_op,
            make_block=make_block,
            drop_path_rate=drop_path_rate,
            checkpointed_stages=checkpointed_stages,
        )
        self.decoder = VSSDecoder(
            self.encoder,
            num_classes,
            decoder_blocks,
            make_block=make_decoder_block or make_block,
            drop_path_rate=drop_path_rate,
            finest_skip=finest_skip,
            side_heads=side_heads,
            tcma=tcma,
            deep_supervision=deep_supervision,
            checkpointed_stages=checkpointed_stages,
        )

    def decode(self, image: Tensor) -> list[Tensor]:
        """Logits of an image whose axes are multiples of `total_stride`, full resolution first."""
        return self.decoder(image, self.encoder(image))
