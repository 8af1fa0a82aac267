"""SegMamba."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from dynamic_network_architectures.initialization.weight_init import InitWeights_He, init_last_bn_before_add_to_0
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
from nnunetv2_mamba.architectures.publication import Publication
from nnunetv2_mamba.architectures.registry import register
from nnunetv2_mamba.building_blocks.conv_decoder import ConvDecoder
from nnunetv2_mamba.building_blocks.conv_encoder import ConvEncoder
from nnunetv2_mamba.building_blocks.layout import spatial_dims
from nnunetv2_mamba.building_blocks.mamba import MambaLayer


@register
class SegMamba(UShapedNetwork):
    """SegMamba of Taming Mambas in 2-D and 3-D: a residual U-Net with a Mamba layer behind each encoder stage.

    The defaults are what its code gives in 2-D: SegMamba(3, 2) has 45,368,330 parameters. In 3-D the widths end at 320.
    Source: Taming Mambas for Voxel Level 3D Medical Image Segmentation, arXiv 2410.15496, and its code; what we fixed
    is in docs/segmamba.md. The SegMamba of Xing et al., arXiv 2401.13560, is another network.

    Args:
        input_channels: channels of the image.
        num_classes: channels of the logits.
        features_per_stage: width of each stage, finest first.
        strides: per stage a number or one per axis; the first stage has the resolution of the image: ones.
        n_blocks_per_stage: residual blocks, of two convolutions each, of each encoder stage, finest first.
        n_blocks_per_stage_decoder: residual blocks of each decoder stage, coarsest first; one entry less than stages.
        conv_op: `nn.Conv2d` or `nn.Conv3d`.
        kernel_sizes: one for all stages, or per stage a number or one per axis; odd.
        deep_supervision: whether the logits of all decoder stages are returned.
        checkpointed_stages: levels, 0 the finest, under activation checkpointing: their blocks run a second time in
            the backward pass, and their activations are not kept in memory. The result is the same.

    Raises:
        ValueError: lengths of the arguments do not fit, a kernel size is even, or a checkpointed stage does not exist.
    """

    publication: ClassVar = Publication(
        "Taming Mambas", "arXiv 2410.15496", code="LucaLumetti/TamingMambas", licence="Apache-2.0"
    )

    @classmethod
    def from_plan(cls, configuration: Mapping[str, Any], **overrides: Any) -> dict[str, Any]:
        """Constructor arguments of a network with the planned U-Net's stages, widths and kernels.

        Of shorter ``features_per_stage`` among the overrides there are as many stages; see `UShapedNetwork`.
        """
        planned = required(configuration, "features_per_stage", "strides", "kernel_sizes", "conv_op")
        planned |= {"n_blocks_per_stage": 2, "n_blocks_per_stage_decoder": 2} | overrides
        n_stages = min(len(planned["features_per_stage"]), len(planned["strides"]))
        per_stage = ("features_per_stage", "strides", "kernel_sizes")
        return planned | {key: np.asarray(planned[key][:n_stages]).tolist() for key in per_stage}

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        features_per_stage: Sequence[int] = (32, 64, 128, 256, 512, 512),
        strides: Sequence[PerAxis] = (1, 2, 2, 2, 2, 2),
        n_blocks_per_stage: PerStage = 2,
        n_blocks_per_stage_decoder: PerStage = 2,
        conv_op: type[nn.Module] = nn.Conv2d,
        kernel_sizes: int | Sequence[PerAxis] = 3,
        deep_supervision: bool = False,
        checkpointed_stages: Sequence[int] = (),
    ) -> None:
        super().__init__(input_channels)
        n_stages, ndim = len(features_per_stage), spatial_dims(conv_op)
        encoder_blocks = blocks_per_stage(n_blocks_per_stage, n_stages, "n_blocks_per_stage")
        decoder_blocks = []
        if n_stages > 1:
            decoder_blocks = blocks_per_stage(n_blocks_per_stage_decoder, n_stages - 1, "n_blocks_per_stage_decoder")
        check_stages(checkpointed_stages, n_stages)
        self.encoder = ConvEncoder(
            input_channels,
            features_per_stage,
            strides=strides_per_axis(strides, n_stages, ndim, patch_embedding=False),
            kernel_sizes=kernels_per_axis(kernel_sizes, n_stages, ndim),
            n_blocks_per_stage=encoder_blocks,
            conv_op=conv_op,
            make_layer=lambda level, width: MambaLayer(width),
            checkpointed_stages=checkpointed_stages,
        )
        self.decoder = ConvDecoder(
            self.encoder,
            num_classes,
            decoder_blocks,
            deep_supervision=deep_supervision,
            checkpointed_stages=checkpointed_stages,
        )
        # Convolutions only: what the scans and linear maps start from is theirs.
        self.apply(InitWeights_He(1e-2))
        self.apply(init_last_bn_before_add_to_0)

    def decode(self, image: Tensor) -> list[Tensor]:
        """Logits of an image whose axes are multiples of `total_stride`, full resolution first."""
        return self.decoder(self.encoder(image))
