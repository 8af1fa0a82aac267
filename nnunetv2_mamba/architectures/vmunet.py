"""VM-UNet."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import nn

from nnunetv2_mamba.architectures._contract import PerAxis, PerStage
from nnunetv2_mamba.architectures._vss_unet import FEATURES_PER_STAGE, VSSUNet
from nnunetv2_mamba.architectures.publication import Publication
from nnunetv2_mamba.architectures.registry import register
from nnunetv2_mamba.building_blocks.vss_block import VSSBlock


@register
class VMUNet(VSSUNet):
    """VM-UNet in 2-D, and our extension of it to 3-D.

    The defaults are the published configuration: VMUNet(3, 1) has 27,427,561 parameters. Source: VM-UNet, arXiv
    2402.02491. Unlike the published code it takes any number of channels and returns logits.

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
        side_heads: whether 1x1 heads for deep supervision are built, which the published network lacks.
        mixer: what relates the tokens of a block to each other: ``"scan"``, or the controls ``"identity"`` and
            ``"convolution"``, a depthwise one with about as many parameters.
        stem: ``"patch"``, the published patch embedding, or ``"conv"``, convolutional stages that keep every voxel.
        conv_stages: how many stages are convolutional with ``stem="conv"``, the finest ones.
        kernel_sizes: of the convolutional stages, one for all stages or per stage a number or one per axis; odd.
        deep_supervision: whether side outputs are returned; needs ``side_heads``.
        checkpointed_stages: levels, 0 the finest, under activation checkpointing: their blocks run a second time in
            the backward pass, and their activations are not kept in memory. The result is the same.

    Raises:
        ValueError: lengths of the arguments do not fit, deep supervision lacks side heads, or a checkpointed stage does
            not exist.
    """

    publication: ClassVar = Publication("VM-UNet", "arXiv 2402.02491", code="JCruan519/VM-UNet", licence="Apache-2.0")

    @classmethod
    def from_plan(cls, configuration: Mapping[str, Any], **overrides: Any) -> dict[str, Any]:
        """As `VSSUNet.from_plan`, with heads for nnU-Net's deep supervision."""
        return super().from_plan(configuration, **{"side_heads": True} | overrides)

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
        side_heads: bool = False,
        mixer: str = "scan",
        stem: str = "patch",
        conv_stages: int = 2,
        kernel_sizes: int | Sequence[PerAxis] = 3,
        deep_supervision: bool = False,
        checkpointed_stages: Sequence[int] = (),
    ) -> None:
        def make_block(level: int, channels: int, drop_path_rate: float) -> VSSBlock:
            return VSSBlock(channels, conv_op, d_state, drop_path_rate=drop_path_rate, mixer=mixer)

        super().__init__(
            input_channels,
            num_classes,
            features_per_stage=features_per_stage,
            strides=strides,
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
        )
