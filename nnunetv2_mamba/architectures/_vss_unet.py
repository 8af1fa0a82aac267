"""What VM-UNet and its relatives share: checks, padding, encoder and decoder, and nnU-Net's contract."""

import math
from collections.abc import Sequence
from operator import index

import torch
from torch import Tensor, nn

from nnunetv2_mamba.building_blocks.grid import crop, pad_to_multiple
from nnunetv2_mamba.building_blocks.layout import spatial_dims
from nnunetv2_mamba.building_blocks.tcma import TCMA
from nnunetv2_mamba.building_blocks.vss_decoder import VSSDecoder
from nnunetv2_mamba.building_blocks.vss_encoder import BlockFactory, VSSEncoder

PerStage = int | Sequence[int]


class VSSUNet(nn.Module):
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
        make_block: makes a block from its width and drop-path rate.
        drop_path_rate: rate of the deepest blocks; it rises linearly in the encoder and falls linearly in the decoder.
        finest_skip: whether the skip of the finest level, which the published networks drop, is used.
        side_heads: whether 1x1 heads for deep supervision are built.
        tcma: attention of S3-Mamba, or None.
        deep_supervision: whether side outputs are returned.
        checkpointed_stages: levels, 0 the finest, whose encoder and decoder blocks are computed a second time in the
            backward pass instead of kept in memory; the result is the same.

    Raises:
        ValueError: lengths of the arguments do not fit, deep supervision lacks side outputs, or there is no such level.
    """

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        features_per_stage: Sequence[int],
        strides: Sequence[PerStage],
        n_blocks_per_stage: PerStage,
        n_blocks_per_stage_decoder: PerStage,
        conv_op: type[nn.Module],
        make_block: BlockFactory,
        drop_path_rate: float,
        finest_skip: bool,
        side_heads: bool,
        tcma: TCMA | None,
        deep_supervision: bool,
        checkpointed_stages: Sequence[int],
    ) -> None:
        super().__init__()
        self.input_channels = input_channels
        n_stages = len(features_per_stage)
        encoder_blocks = blocks_per_stage(n_blocks_per_stage, n_stages, "n_blocks_per_stage")
        decoder_blocks = blocks_per_stage(n_blocks_per_stage_decoder, n_stages, "n_blocks_per_stage_decoder")
        strides = strides_per_axis(strides, n_stages, spatial_dims(conv_op))
        check_stages(checkpointed_stages, n_stages)
        self.encoder = VSSEncoder(
            input_channels,
            features_per_stage,
            strides,
            encoder_blocks,
            conv_op,
            make_block,
            drop_path_rate,
            checkpointed_stages,
        )
        self.decoder = VSSDecoder(
            self.encoder,
            num_classes,
            decoder_blocks,
            make_block,
            drop_path_rate,
            finest_skip,
            side_heads,
            tcma,
            deep_supervision,
            checkpointed_stages,
        )

    @property
    def total_stride(self) -> tuple[int, ...]:
        """Per axis, the multiple that an image is padded to."""
        return tuple(math.prod(steps) for steps in zip(*self.encoder.strides, strict=True))

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Segment an image of any size from one patch upwards.

        The image is continued by its last values at the end of each axis up to a multiple of the total stride; outputs
        are cropped to where the image was.

        Args:
            x: image (B, input_channels, *spatial).

        Returns:
            Logits (B, num_classes, *spatial); with deep supervision a list of them, full resolution first, whose sizes
            are those of nnU-Net's downsampled targets.

        Raises:
            ValueError: wrong number of axes or channels, an axis shorter than a patch, NaN or Inf.
        """
        self._check(x)
        # Plain numbers also while torch.compile traces, hence one graph for each size: of a variable size it would take
        # many minutes to find out by what it is divisible, and nnU-Net trains and predicts with a single one.
        spatial, stride = [index(size) for size in x.shape[2:]], (1,) * (x.ndim - 2)
        padded = pad_to_multiple(x, self.total_stride)
        outputs = self.decoder(padded, self.encoder(padded))
        cropped = []
        for output, step in zip(outputs, self.encoder.strides[: len(outputs)], strict=True):
            stride = tuple(total * factor for total, factor in zip(stride, step, strict=True))
            cropped.append(crop(output, downsampled_size(spatial, stride)))
        return cropped if self.decoder.deep_supervision else cropped[0]

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> int:
        """Feature-map elements that one training sample keeps for its backward pass, scans included.

        nnU-Net's planners take it as a proxy of the memory needed. Padding to the total stride is counted. Of
        checkpointed stages it counts what they keep and, once, the largest part that is computed again.

        Args:
            input_size: spatial size of the patch.

        Raises:
            ValueError: the patch has the wrong number of axes.
        """
        if len(input_size) != len(self.total_stride):
            raise ValueError(
                f"the patch {tuple(input_size)} has {len(input_size)} axes, the network {len(self.total_stride)}"
            )
        padded = [math.ceil(size / stride) * stride for size, stride in zip(input_size, self.total_stride, strict=True)]
        kept = self.encoder.compute_conv_feature_map_size(padded)
        kept += self.decoder.compute_conv_feature_map_size(self.encoder, padded)
        return kept + max(
            self.encoder.recomputed_feature_map_size(padded),
            self.decoder.recomputed_feature_map_size(self.encoder, padded),
        )

    @staticmethod
    def initialize(module: nn.Module) -> None:
        """Leave a module as its constructor made it.

        nnU-Net calls this on every module of a new network. All are initialised already, and a general rule such as
        He's would spoil the scans' tensors and the feedback that starts at zero.
        """

    def _check(self, x: Tensor) -> None:
        patch = self.encoder.strides[1]
        if x.ndim != len(patch) + 2:
            raise ValueError(
                f"the input has shape {tuple(x.shape)}; this network wants (B, C) and {len(patch)} spatial axes"
            )
        if x.shape[1] != self.input_channels:
            raise ValueError(f"the input has {x.shape[1]} channels; this network was built for {self.input_channels}")
        if any(size < length for size, length in zip(x.shape[2:], patch, strict=True)):
            raise ValueError(
                f"the input of size {tuple(x.shape[2:])} is smaller than one token, a patch of {patch}; pad the image"
            )
        # A look at the values would break the graph of torch.compile.
        if not torch.compiler.is_compiling() and not torch.isfinite(x).all():
            raise ValueError("the input contains NaN or Inf; look for them in the image or its normalisation")


def downsampled_size(spatial: Sequence[int], stride: Sequence[int]) -> list[int]:
    """Size of nnU-Net's target at a stride, computed like its `DownsampleSegForDSTransform`: round(size * scale)."""
    return [max(1, round(size * (1 / step))) for size, step in zip(spatial, stride, strict=True)]


def blocks_per_stage(n_blocks: PerStage, n_stages: int, name: str) -> list[int]:
    """One number of blocks for each stage; a single number counts for all. Raises a ValueError where lengths differ."""
    counts = [n_blocks] * n_stages if isinstance(n_blocks, int) else list(n_blocks)
    if len(counts) != n_stages or min(counts, default=0) < 1:
        raise ValueError(f"{name} is {counts}; features_per_stage asks for {n_stages} numbers of at least 1")
    return counts


def check_stages(checkpointed_stages: Sequence[int], n_stages: int) -> None:
    """Raise a ValueError where a stage to be checkpointed does not exist."""
    if unknown := [stage for stage in checkpointed_stages if stage not in range(n_stages)]:
        raise ValueError(
            f"checkpointed_stages names {unknown[0]!r}; the network has the stages 0, the finest, to {n_stages - 1}"
        )


def strides_per_axis(strides: Sequence[PerStage], n_stages: int, ndim: int) -> list[tuple[int, ...]]:
    """One stride per axis for the image and each stage; a single number counts for all axes.

    Raises:
        ValueError: too few or too many entries, an entry of the wrong dimension, or a first entry other than ones.
    """
    per_axis = [
        (stride,) * ndim if isinstance(stride, int) else tuple(int(step) for step in stride) for stride in strides
    ]
    if len(per_axis) != n_stages + 1:
        raise ValueError(
            f"strides has {len(per_axis)} entries; {n_stages} stages ask for {n_stages + 1}: ones, patch size, mergings"
        )
    if any(len(stride) != ndim or min(stride) < 1 for stride in per_axis):
        raise ValueError(f"strides is {per_axis}; every entry needs {ndim} steps of at least 1")
    if set(per_axis[0]) != {1}:
        raise ValueError(
            f"the first entry of strides is {per_axis[0]}; it stands for the full resolution and must be ones"
        )
    return per_axis
