"""What nnU-Net and its users expect of every network: checks, padding, sizes of the outputs, and a memory estimate."""

import math
from collections.abc import Collection, Mapping, Sequence
from operator import index
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from nnunetv2_mamba.architectures.publication import Publication
from nnunetv2_mamba.building_blocks.grid import crop, pad_to_multiple

PerStage = int | Sequence[int]
"""One number for all stages, or one for each."""

PerAxis = int | Sequence[int]
"""One number for all axes, or one for each."""


class UShapedNetwork(nn.Module):
    """An encoder and a decoder around which images of any size are padded and their logits cropped.

    Subclasses make both in their constructors and say in `decode` how they work together. The encoder has `strides`,
    one per axis for each stage and for the patch embedding where there is one, and `smallest_input`; the decoder has
    `deep_supervision`; both estimate their memory.

    A subclass that is a network of its own also states its facts, `publication` and `from_plan`, and is registered
    (`registry.register`). Plans, trainers, commands and tests know nothing else of it.

    Args:
        input_channels: channels of the image.

    Attributes:
        publication: where the network comes from.
        dimensions: numbers of spatial axes that the network can have.
        published_weights: kinds of published checkpoints that ``nnUNetv2_mamba convert-weights`` can take.
        no_weight_decay: names of its own parameters that weight decay spares; each of its blocks may have the same.
    """

    publication: ClassVar[Publication]
    dimensions: ClassVar[tuple[int, ...]] = (2, 3)
    published_weights: ClassVar[frozenset[str]] = frozenset()
    no_weight_decay: ClassVar[frozenset[str]] = frozenset()

    encoder: nn.Module
    decoder: nn.Module

    def __init__(self, input_channels: int) -> None:
        super().__init__()
        self.input_channels = input_channels

    @classmethod
    def from_plan(cls, configuration: Mapping[str, Any], **overrides: Any) -> dict[str, Any]:
        """Constructor arguments of the network for a configuration of nnU-Net's plans.

        Args:
            configuration: with what it inherits: ``architecture``, in which ``conv_op`` is a dotted name, and
                ``spacing`` in mm per axis.
            overrides: further arguments, or others than those derived.

        Returns:
            Arguments that JSON can hold, with the strides of `strides_per_axis`.

        Raises:
            ValueError: the configuration lacks something that the network is derived from.
        """
        raise NotImplementedError

    @classmethod
    def token_size(cls, arch_kwargs: Mapping[str, Any]) -> list[int]:
        """Voxels per axis that the first layer joins to one position.

        Args:
            arch_kwargs: constructor arguments, as `from_plan` gives them.
        """
        return [int(step) for step in arch_kwargs["strides"][0]]

    @staticmethod
    def variant_of(names: Collection[str]) -> str:
        """Which variant of its network a state dict belongs to, for messages; empty where there is only one.

        Args:
            names: of the tensors.
        """
        return ""

    def decode(self, image: Tensor) -> list[Tensor]:
        """Logits of an image whose axes are multiples of `total_stride`, full resolution first."""
        raise NotImplementedError

    @property
    def total_stride(self) -> tuple[int, ...]:
        """Per axis, the multiple that an image is padded to."""
        return tuple(math.prod(steps) for steps in zip(*self.encoder.strides, strict=True))

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Segment an image of any size from one token upwards.

        The image is continued by its last values at the end of each axis up to a multiple of the total stride; outputs
        are cropped to where the image was.

        Args:
            x: image (B, input_channels, *spatial).

        Returns:
            Logits (B, num_classes, *spatial); with deep supervision a list of them, full resolution first, whose sizes
            are those of nnU-Net's downsampled targets.

        Raises:
            ValueError: wrong number of axes or channels, an axis shorter than a token, NaN or Inf.
        """
        self._check(x)
        # Plain numbers also while torch.compile traces, hence one graph for each size: of a variable size it would take
        # many minutes to find out by what it is divisible, and nnU-Net trains and predicts with a single one.
        spatial, stride = [index(size) for size in x.shape[2:]], (1,) * (x.ndim - 2)
        outputs = self.decode(pad_to_multiple(x, self.total_stride))
        cropped = []
        for output, step in zip(outputs, self.encoder.strides[: len(outputs)], strict=True):
            stride = tuple(total * factor for total, factor in zip(stride, step, strict=True))
            cropped.append(crop(output, downsampled_size(spatial, stride)))
        return cropped if self.decoder.deep_supervision else cropped[0]

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> int:
        """Feature-map elements that one training sample keeps for its backward pass, scans included.

        nnU-Net's planners take it as a proxy of the memory needed. Padding to the total stride is counted. Of
        stages under activation checkpointing it counts the kept inputs and, once, the largest part that runs again.

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
        He's would spoil what starts differently, such as the feedback of S3-Mamba that starts at zero.
        """

    def _check(self, x: Tensor) -> None:
        smallest = self.encoder.smallest_input
        if x.ndim != len(smallest) + 2:
            raise ValueError(
                f"the input has shape {tuple(x.shape)}; this network wants (B, C) and {len(smallest)} spatial axes"
            )
        if x.shape[1] != self.input_channels:
            raise ValueError(f"the input has {x.shape[1]} channels; this network was built for {self.input_channels}")
        if any(size < length for size, length in zip(x.shape[2:], smallest, strict=True)):
            raise ValueError(
                f"the input of size {tuple(x.shape[2:])} is smaller than one token, a patch of {smallest}; "
                "pad the image"
            )
        # A look at the values would break the graph of torch.compile.
        if not torch.compiler.is_compiling() and not torch.isfinite(x).all():
            raise ValueError("the input contains NaN or Inf; look for them in the image or its normalisation")


def required(configuration: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """Arguments of the planned U-Net that a network is derived from.

    Args:
        configuration: of nnU-Net's plans.
        keys: names of the arguments.

    Raises:
        ValueError: one is missing or empty.
    """
    arch_kwargs = configuration["architecture"]["arch_kwargs"]
    if missing := [key for key in keys if not arch_kwargs.get(key)]:
        raise ValueError(
            f"the plan's arch_kwargs lack {' and '.join(missing)}, which our networks are derived from: "
            "use plans of nnU-Net's own planners, such as nnUNetPlans."
        )
    return {key: arch_kwargs[key] for key in keys}


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


def strides_per_axis(
    strides: Sequence[PerAxis], n_stages: int, ndim: int, patch_embedding: bool = True
) -> list[tuple[int, ...]]:
    """One stride per axis for each stage, before them one for the image where a patch embedding is the first stride.

    Args:
        strides: entries as the networks take them; a single number counts for all axes.
        n_stages: number of stages.
        ndim: number of axes.
        patch_embedding: whether the first stage is a patch embedding, else it has the resolution of the image.

    Raises:
        ValueError: too few or too many entries, an entry of the wrong dimension, or a first entry other than ones.
    """
    per_axis = [_per_axis(stride, ndim) for stride in strides]
    wanted, meaning = n_stages, "ones, downsamplings"
    if patch_embedding:
        wanted, meaning = n_stages + 1, "ones, patch size, mergings"
    if len(per_axis) != wanted:
        raise ValueError(f"strides has {len(per_axis)} entries; {n_stages} stages ask for {wanted}: {meaning}")
    if any(len(stride) != ndim or min(stride) < 1 for stride in per_axis):
        raise ValueError(f"strides is {per_axis}; every entry needs {ndim} steps of at least 1")
    if set(per_axis[0]) != {1}:
        raise ValueError(
            f"the first entry of strides is {per_axis[0]}; it stands for the full resolution and must be ones"
        )
    return per_axis


def kernels_per_axis(kernel_sizes: int | Sequence[PerAxis], n_stages: int, ndim: int) -> list[tuple[int, ...]]:
    """One kernel size per axis for each stage; a single number counts for all.

    Raises:
        ValueError: too few or too many entries, one of the wrong dimension, or an even size, which has no centre.
    """
    entries = [kernel_sizes] * n_stages if isinstance(kernel_sizes, int) else kernel_sizes
    per_axis = [_per_axis(kernel, ndim) for kernel in entries]
    if len(per_axis) != n_stages:
        raise ValueError(f"kernel_sizes has {len(per_axis)} entries; features_per_stage asks for {n_stages}")
    if any(len(kernel) != ndim or min(kernel) < 1 or not all(size % 2 for size in kernel) for kernel in per_axis):
        raise ValueError(f"kernel_sizes is {per_axis}; every entry needs {ndim} odd sizes")
    return per_axis


def _per_axis(entry: PerAxis, ndim: int) -> tuple[int, ...]:
    return (entry,) * ndim if isinstance(entry, int) else tuple(int(size) for size in entry)
