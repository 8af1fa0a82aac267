"""S3-Mamba."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import nn

from nnunetv2_mamba.architectures._contract import PerAxis, PerStage
from nnunetv2_mamba.architectures._vss_unet import FEATURES_PER_STAGE, VSSUNet, stem_strides
from nnunetv2_mamba.architectures.publication import Publication
from nnunetv2_mamba.architectures.registry import register
from nnunetv2_mamba.building_blocks.layout import spatial_dims
from nnunetv2_mamba.building_blocks.tcma import TCMA
from nnunetv2_mamba.building_blocks.vss_block import EnVSSBlock

PUBLISHED_BUDGET = {"reduction": 32}
"""Arguments that meet the published 27.58 M parameters; the paper does not state the reduction."""


@register
class S3Mamba(VSSUNet):
    """S3-Mamba in 2-D, and our extension of it to 3-D: VM-UNet with EnVSS blocks and TCMA.

    Each part has a switch, so that it can be taken out on its own: without TCMA and channel attention but with the
    depthwise convolution it is VM-UNet. Source: S3-Mamba, arXiv 2412.14546, with our choices where it is silent
    (docs/s3-mamba.md).

    Args:
        input_channels: channels of the image.
        num_classes: channels of the logits.
        features_per_stage: width of each stage, finest first.
        strides: per stage a number or one per axis: ones, the patch size, the mergings; one entry more than stages.
            With ``stem="conv"``, one entry for each stage.
        n_blocks_per_stage: blocks of each encoder stage, finest first.
        n_blocks_per_stage_decoder: blocks of each decoder stage, coarsest first.
        conv_op: `nn.Conv2d` or `nn.Conv3d`.
        d_state: state size of the scans.
        drop_path_rate: rate of the deepest blocks.
        finest_skip: whether the skip of the finest stage of blocks is used; None: only with ``stem="conv"``.
        tcma: whether there is TCMA; the side outputs then are its modulated masks.
        tcma_patches: d of eq. 1, edge lengths of TCMA's scales in tokens, each 2 or more.
        tcma_image_channels: C, channels of TCMA's image features.
        tcma_edge_channels: E, channels of TCMA's edge features.
        tcma_hidden: width of the hidden layers of TCMA's scales.
        spacing: distance of neighbouring voxels per spatial axis in mm, in the order of the image's axes, as nnU-Net's
            plan has it; TCMA measures edges in it. None: isotropic.
        channel_attention: whether blocks contain `EnCFBlock`.
        reduction: of the channel attention; 32 is `PUBLISHED_BUDGET`.
        depthwise_conv: whether blocks keep VM-UNet's depthwise convolution.
        side_heads: whether 1x1 heads for deep supervision are built; only without TCMA.
        mixer: what relates the tokens of a block to each other: ``"scan"``, or the controls ``"identity"`` and
            ``"convolution"``, a depthwise one with about as many parameters.
        stem: ``"patch"``, the published patch embedding, or ``"conv"``, convolutional stages that keep every voxel.
        conv_stages: how many stages are convolutional with ``stem="conv"``, the finest ones.
        kernel_sizes: of the convolutional stages, one for all stages or per stage a number or one per axis; odd.
        deep_supervision: whether side outputs are returned; needs TCMA or ``side_heads``.
        checkpointed_stages: levels, 0 the finest, under activation checkpointing: their blocks run a second time in
            the backward pass, and their activations are not kept in memory. The result is the same.

    Raises:
        ValueError: lengths of the arguments do not fit, a width or scale of TCMA is too small, its spacing is not
            a positive number per axis, TCMA and side heads are both asked for, deep supervision has neither, or a
            checkpointed stage does not exist.
    """

    publication: ClassVar = Publication("S3-Mamba", "arXiv 2412.14546")

    @classmethod
    def from_plan(cls, configuration: Mapping[str, Any], **overrides: Any) -> dict[str, Any]:
        """As `VSSUNet.from_plan`, with the planned voxel spacing, in which TCMA measures edges."""
        return super().from_plan(configuration, **{"spacing": configuration.get("spacing")} | overrides)

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        features_per_stage: Sequence[int] = FEATURES_PER_STAGE,
        strides: Sequence[PerAxis] = (1, 4, 2, 2, 2),
        n_blocks_per_stage: PerStage = (2, 2, 2, 2),
        n_blocks_per_stage_decoder: PerStage = (2, 2, 2, 1),
        conv_op: type[nn.Module] = nn.Conv2d,
        d_state: int = 16,
        drop_path_rate: float = 0.2,
        finest_skip: bool | None = None,
        tcma: bool = True,
        tcma_patches: Sequence[int] = (2, 4, 8),
        tcma_image_channels: int = 8,
        tcma_edge_channels: int = 8,
        tcma_hidden: int = 64,
        spacing: Sequence[float] | None = None,
        channel_attention: bool = True,
        reduction: int = 16,
        depthwise_conv: bool = False,
        side_heads: bool = False,
        mixer: str = "scan",
        stem: str = "patch",
        conv_stages: int = 2,
        kernel_sizes: int | Sequence[PerAxis] = 3,
        deep_supervision: bool = False,
        checkpointed_stages: Sequence[int] = (),
    ) -> None:
        if tcma and side_heads:
            raise ValueError(
                "tcma and side_heads are both True; with TCMA its masks are the side outputs, so drop side_heads"
            )
        per_axis = stem_strides(stem, strides, n_stages=len(features_per_stage), ndim=spatial_dims(conv_op))
        attention = None
        if tcma:
            attention = TCMA(
                input_channels,
                num_classes,
                # TCMA works on every level below full resolution, which has a stage of its own behind a stem only.
                features_per_stage[1:] if stem == "conv" else features_per_stage,
                strides=per_axis,
                conv_op=conv_op,
                patches=tcma_patches,
                image_channels=tcma_image_channels,
                edge_channels=tcma_edge_channels,
                hidden=tcma_hidden,
                spacing=spacing,
            )

        def make_block(level: int, channels: int, drop_path_rate: float) -> EnVSSBlock:
            return EnVSSBlock(
                channels,
                conv_op,
                d_state,
                drop_path_rate=drop_path_rate,
                depthwise_conv=depthwise_conv,
                mixer=mixer,
                channel_attention=channel_attention,
                reduction=reduction,
            )

        super().__init__(
            input_channels,
            num_classes,
            features_per_stage=features_per_stage,
            strides=per_axis,
            n_blocks_per_stage=n_blocks_per_stage,
            n_blocks_per_stage_decoder=n_blocks_per_stage_decoder,
            conv_op=conv_op,
            make_block=make_block,
            drop_path_rate=drop_path_rate,
            finest_skip=finest_skip,
            side_heads=side_heads,
            stem=stem,
            conv_stages=conv_stages,
            kernel_sizes=kernel_sizes,
            deep_supervision=deep_supervision,
            checkpointed_stages=checkpointed_stages,
            tcma=attention,
        )
