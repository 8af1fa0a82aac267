"""What VM-UNet and its relatives share: an encoder and a decoder of VSS-like blocks."""

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from dynamic_network_architectures.initialization.weight_init import InitWeights_He
from torch import Tensor, nn

from nnunetv2_mamba.architectures._contract import (
    PerAxis,
    PerStage,
    UShapedNetwork,
    blocks_per_stage,
    check_stages,
    kernels_per_axis,
    required,
    strides_per_axis,
)
from nnunetv2_mamba.building_blocks.conv_blocks import PlainConvBlock
from nnunetv2_mamba.building_blocks.conv_encoder import ConvEncoder, IdentityLayer
from nnunetv2_mamba.building_blocks.layout import spatial_dims
from nnunetv2_mamba.building_blocks.tcma import TCMA
from nnunetv2_mamba.building_blocks.vss_decoder import VSSDecoder
from nnunetv2_mamba.building_blocks.vss_encoder import BlockFactory, VSSEncoder

logger = logging.getLogger(__name__)

FEATURES_PER_STAGE = (96, 192, 384, 768)
"""Published widths; their number is the largest number of levels that a plan can give a network with patches."""

PATCH_EMBED_STAGES = 3
"""How many of the plan's stages the patch embedding replaces: strides 1, 2, 2 make the published 4x4 patches."""

FINE_FEATURES_PER_STAGE = (64, 128, 256, 512)
"""Widths of the stages of blocks behind a convolutional stem; their number is the largest that a plan can give."""

FIRST_BLOCK_STRIDE = 4
"""Behind a convolutional stem, blocks start at the first of the plan's stages with this stride along an axis."""

STEMS = ("patch", "conv")


class VSSUNet(UShapedNetwork):
    """U-shaped network of VSS-like blocks; subclasses say which block and whether there is TCMA.

    Args:
        input_channels: channels of the image.
        num_classes: channels of the logits.
        features_per_stage: width of each stage, finest first.
        strides: per stage a number or one per axis. With patches, entry 0 is the full-resolution image (ones), entry 1
            the patch size, the rest the mergings: one entry more than there are stages, so that nnU-Net's formula
            1 / cumprod(strides)[:-1] gives the scales of the outputs. With a convolutional stem, an entry for each
            stage, as nnU-Net plans them.
        n_blocks_per_stage: blocks of each encoder stage, finest first; of a convolutional stage, convolutions.
        n_blocks_per_stage_decoder: the same of each decoder stage, coarsest first.
        conv_op: `nn.Conv2d` or `nn.Conv3d`.
        make_block: makes a block from its level, width and drop-path rate.
        drop_path_rate: rate of the deepest blocks; it rises linearly in the encoder and falls linearly in the decoder.
        finest_skip: whether the skip of the finest stage of blocks is used. None: only with a convolutional stem, since
            the published networks drop it.
        side_heads: whether 1x1 heads for deep supervision are built.
        stem: ``"patch"``, the published patch embedding of the image, or ``"conv"``, convolutional stages that keep
            every voxel.
        conv_stages: how many stages are convolutional with ``stem="conv"``, the finest ones.
        kernel_sizes: of the convolutional stages, one for all stages or per stage a number or one per axis; odd.
        tcma: attention of S3-Mamba, or None.
        deep_supervision: whether side outputs are returned.
        checkpointed_stages: levels, 0 the finest, under activation checkpointing: their blocks run a second time in the
            backward pass, and their activations are not kept in memory. The result is the same.
        make_decoder_block: makes the decoder's blocks where they are others than the encoder's.

    Raises:
        ValueError: lengths of the arguments do not fit, the stem is unknown or leaves no stage of blocks, deep
            supervision lacks side outputs, or a checkpointed stage does not exist.
    """

    published_weights: ClassVar = frozenset({"VMamba"})

    @classmethod
    def from_plan(cls, configuration: Mapping[str, Any], **overrides: Any) -> dict[str, Any]:
        """Constructor arguments of a network that downsamples as the planned U-Net does; see `UShapedNetwork`.

        With patches, the patch embedding's stride is the product of the plan's first three strides, and the mergings
        take the strides that follow. With ``stem="conv"``, the finest stages are the plan's own, ``conv_stages`` of
        them or those in front of `FIRST_BLOCK_STRIDE`; the coarsest of a short plan always has blocks. There are as
        many levels as the plan has strides for, at most as many as widths.

        Raises:
            ValueError: the configuration lacks something, or has one stage only and the stem is convolutional.
        """
        if check_stem(overrides.get("stem", "patch")) == "conv":
            return _with_conv_stem(configuration, **overrides)
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
        """Size of a patch of the patch embedding; of a convolutional stem, one voxel."""
        first = 0 if arch_kwargs.get("stem") == "conv" else 1
        return [int(step) for step in arch_kwargs["strides"][first]]

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
        finest_skip: bool | None,
        side_heads: bool,
        stem: str = "patch",
        conv_stages: int = 2,
        kernel_sizes: int | Sequence[PerAxis] = 3,
        tcma: TCMA | None = None,
        deep_supervision: bool,
        checkpointed_stages: Sequence[int],
        make_decoder_block: BlockFactory | None = None,
    ) -> None:
        super().__init__(input_channels)
        n_stages, ndim = len(features_per_stage), spatial_dims(conv_op)
        encoder_blocks = blocks_per_stage(n_blocks_per_stage, n_stages, "n_blocks_per_stage")
        decoder_blocks = blocks_per_stage(n_blocks_per_stage_decoder, n_stages, "n_blocks_per_stage_decoder")
        strides = stem_strides(stem, strides, n_stages=n_stages, ndim=ndim)
        check_stages(checkpointed_stages, n_stages)
        n_conv = check_conv_stages(conv_stages, n_stages) if stem == "conv" else 0
        pixels = None
        if n_conv:
            # A stage of nnU-Net's, whose first convolution of all is the stem of `ConvEncoder`.
            convolutions = [encoder_blocks[0] - 1, *encoder_blocks[1:n_conv]]
            pixels = ConvEncoder(
                input_channels,
                features_per_stage[:n_conv],
                strides=strides[:n_conv],
                kernel_sizes=kernels_per_axis(kernel_sizes, n_stages, ndim)[:n_conv],
                n_blocks_per_stage=convolutions,
                conv_op=conv_op,
                make_layer=lambda level, width: IdentityLayer(width),
                make_block=PlainConvBlock,
                checkpointed_stages=checkpointed_stages,
            ).apply(InitWeights_He(1e-2))
        self.encoder = VSSEncoder(
            input_channels,
            features_per_stage[n_conv:],
            strides=strides,
            n_blocks_per_stage=encoder_blocks[n_conv:],
            conv_op=conv_op,
            make_block=make_block,
            drop_path_rate=drop_path_rate,
            stem=pixels,
            checkpointed_stages=checkpointed_stages,
        )
        self.decoder = VSSDecoder(
            self.encoder,
            num_classes,
            decoder_blocks,
            make_block=make_decoder_block or make_block,
            drop_path_rate=drop_path_rate,
            finest_skip=n_conv > 0 if finest_skip is None else finest_skip,
            side_heads=side_heads,
            tcma=tcma,
            deep_supervision=deep_supervision,
            checkpointed_stages=checkpointed_stages,
        )

    @staticmethod
    def variant_of(names: Collection[str]) -> str:
        """The stem of the network that a state dict belongs to."""
        return f"stem={'conv' if any(name.startswith('encoder.stem.') for name in names) else 'patch'!r}"

    def decode(self, image: Tensor) -> list[Tensor]:
        """Logits of an image whose axes are multiples of `total_stride`, full resolution first."""
        return self.decoder(image, self.encoder(image))


def stem_strides(stem: str, strides: Sequence[PerAxis], *, n_stages: int, ndim: int) -> list[tuple[int, ...]]:
    """Strides per axis of a network with that stem; see `strides_per_axis`.

    Raises:
        ValueError: the stem is unknown, or the strides do not fit.
    """
    return strides_per_axis(strides, n_stages, ndim, patch_embedding=check_stem(stem) == "patch")


def check_stem(stem: str) -> str:
    """The stem itself; a ValueError where there is none of that name."""
    if stem not in STEMS:
        raise ValueError(f"stem is {stem!r}; use one of {', '.join(map(repr, STEMS))}")
    return stem


def check_conv_stages(conv_stages: int, n_stages: int) -> int:
    """The number of convolutional stages; a ValueError where the network would have none, or no stage of blocks."""
    if not 1 <= conv_stages < n_stages:
        raise ValueError(
            f"conv_stages is {conv_stages} and the network has {n_stages} stages; with stem='conv' give at least 1, "
            "and leave one stage for the blocks"
        )
    return conv_stages


def _with_conv_stem(configuration: Mapping[str, Any], **overrides: Any) -> dict[str, Any]:
    planned = required(configuration, "strides", "conv_op", "features_per_stage", "kernel_sizes")
    strides = np.asarray(planned["strides"], dtype=int)
    if len(strides) < 2:
        raise ValueError(
            "the plan has one stage and stem='conv' needs two, a convolutional one and one of blocks: "
            "use a network with stem='patch'."
        )
    reached = np.cumprod(strides, axis=0).max(axis=1) >= FIRST_BLOCK_STRIDE
    in_front = int(reached.argmax()) if reached.any() else len(strides) - 1
    wanted, widths = overrides.pop("conv_stages", in_front), overrides.pop("features_per_stage", None)
    most = min(len(strides), len(widths or strides))
    n_conv = min(wanted, most - 1)
    if n_conv < wanted:
        logger.warning("the network has %d stages, so %d of them are convolutional and not %d", most, n_conv, wanted)
    widths = widths or [*planned["features_per_stage"][:n_conv], *FINE_FEATURES_PER_STAGE]
    n_levels = min(len(strides), len(widths))
    return {
        "features_per_stage": list(widths[:n_levels]),
        "strides": strides[:n_levels].tolist(),
        "n_blocks_per_stage": [2] * n_levels,
        "n_blocks_per_stage_decoder": [1] * (n_levels - n_conv) + [2] * n_conv,
        "conv_op": planned["conv_op"],
        "conv_stages": n_conv,
        "kernel_sizes": np.asarray(planned["kernel_sizes"][:n_levels]).tolist(),
        **overrides,
    }
