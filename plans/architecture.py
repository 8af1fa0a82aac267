"""From the architecture that nnU-Net planned to one of ours: the same downsampling, other blocks."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

FEATURES_PER_STAGE = (96, 192, 384, 768)
"""Widths of VM-UNet and S3-Mamba; their number is the largest number of levels."""

PATCH_EMBED_STAGES = 3
"""How many of the plan's stages the patch embedding replaces: strides 1, 2, 2 make the published 4 x 4 patches."""

PACKAGE = "nnunetv2_mamba.architectures"


def vss_kwargs(
    arch_kwargs: Mapping[str, Any], features_per_stage: Sequence[int] = FEATURES_PER_STAGE, **fixed: Any
) -> dict[str, Any]:
    """Constructor arguments of a VSS network (VMUNet, S3Mamba, SAUMamba) that downsamples as the planned U-Net does.

    The patch embedding's stride is the product of the plan's first three stage strides, the merges take the strides
    that follow, four levels at most. `strides` of the result starts with the full-resolution image, so that nnU-Net's
    own formula for the deep-supervision scales gives exactly the resolutions of our outputs.

    Args:
        arch_kwargs: ``arch_kwargs`` of a plan: ``strides``, one sequence per stage and in it one stride per axis, and
            ``conv_op``.
        features_per_stage: widths of the levels, finest first; those of levels the plan does not reach are dropped.
        fixed: further arguments, passed on.

    Raises:
        ValueError: the plan's architecture has no strides or no conv_op.
    """
    _require(arch_kwargs, "strides", "conv_op")
    strides = np.asarray(arch_kwargs["strides"], dtype=int)
    merges = strides[PATCH_EMBED_STAGES:][: len(features_per_stage) - 1]
    patch_embed = strides[:PATCH_EMBED_STAGES].prod(axis=0)
    n_levels = 1 + len(merges)
    return {
        "features_per_stage": list(features_per_stage[:n_levels]),
        "strides": np.stack([np.ones_like(patch_embed), patch_embed, *merges]).tolist(),
        "n_blocks_per_stage": [2] * n_levels,
        "n_blocks_per_stage_decoder": [2] * (n_levels - 1) + [1],
        "conv_op": arch_kwargs["conv_op"],
        **fixed,
    }


def vmunet_kwargs(configuration: Mapping[str, Any], **overrides: Any) -> dict[str, Any]:
    """Constructor arguments of VMUNet and SAUMamba; as in `vss_kwargs`."""
    return vss_kwargs(configuration["architecture"]["arch_kwargs"], **{"side_heads": True} | overrides)


def s3mamba_kwargs(configuration: Mapping[str, Any], **overrides: Any) -> dict[str, Any]:
    """Constructor arguments of S3Mamba: as in `vss_kwargs`, with the planned voxel spacing, in which it sees edges."""
    planned: dict[str, Any] = {"spacing": configuration.get("spacing")}
    return vss_kwargs(configuration["architecture"]["arch_kwargs"], **planned | overrides)


def segmamba_kwargs(configuration: Mapping[str, Any], **overrides: Any) -> dict[str, Any]:
    """Constructor arguments of SegMamba, which has the planned U-Net's stages, widths and kernels.

    Args:
        configuration: as in `mamba_architecture`.
        overrides: further arguments, or others than the derived ones; of shorter ``features_per_stage`` there are as
            many stages.

    Raises:
        ValueError: the plan's architecture lacks one of these.
    """
    arch_kwargs = configuration["architecture"]["arch_kwargs"]
    planned = _require(arch_kwargs, "features_per_stage", "strides", "kernel_sizes", "conv_op")
    planned |= {"n_blocks_per_stage": 2, "n_blocks_per_stage_decoder": 2} | overrides
    n_stages = min(len(planned["features_per_stage"]), len(planned["strides"]))
    per_stage = ("features_per_stage", "strides", "kernel_sizes")
    return planned | {key: np.asarray(planned[key][:n_stages]).tolist() for key in per_stage}


NETWORKS: dict[str, Callable[..., dict[str, Any]]] = {
    "VMUNet": vmunet_kwargs,
    "S3Mamba": s3mamba_kwargs,
    "SAUMamba": vmunet_kwargs,
    "SegMamba": segmamba_kwargs,
}
"""Networks that a plan can be turned into, with the function that makes their arguments from a configuration."""


PATCH_EMBEDDED = frozenset(NETWORKS) - {"SegMamba"}
"""Those whose first layer is a patch embedding."""


def is_ours(architecture: Mapping[str, Any]) -> bool:
    """Whether a plan's ``architecture`` entry already names one of our networks."""
    return architecture["network_class_name"].startswith(PACKAGE + ".")


def token_size(architecture: Mapping[str, Any]) -> list[int]:
    """Positions of the image that a network's first layer joins to one, per axis.

    Args:
        architecture: entry of a plan, nnU-Net's or ours, with ``strides``.
    """
    strides = np.asarray(architecture["arch_kwargs"]["strides"], dtype=int)
    # With a patch embedding strides start with the image itself.
    embedded = is_ours(architecture) and architecture["network_class_name"].rpartition(".")[2] in PATCH_EMBEDDED
    return (strides[0] * strides[1] if embedded else strides[0]).tolist()


def mamba_architecture(configuration: Mapping[str, Any], network: str, **overrides: Any) -> dict[str, Any]:
    """The ``architecture`` entry of a configuration with one of our networks in the place of the planned one.

    Args:
        configuration: of nnU-Net's plan, with what it inherits: ``architecture``, in which ``conv_op`` is a dotted
            name, and ``spacing``, in mm per axis; without it, voxels count as isotropic.
        network: name of the class in `nnunetv2_mamba.architectures`.
        overrides: further arguments of the network, or others than the derived ones.

    Returns:
        An entry that is JSON-serialisable; a copy of the given one, without the overrides, where that names `network`.

    Raises:
        ValueError: unknown network, or an architecture that it cannot be derived from, such as another of ours.
    """
    if network not in NETWORKS:
        raise ValueError(f"unknown network {network}: choose one of {', '.join(NETWORKS)}.")
    architecture = configuration["architecture"]
    if is_ours(architecture):
        named = architecture["network_class_name"].rpartition(".")[2]
        if named != network:
            raise ValueError(
                f"the plans name {named} already and give no {network}: "
                f"use plans of nnU-Net's own planners, such as nnUNetPlans, or ask for {named}."
            )
        return dict(architecture)
    return {
        "network_class_name": f"{PACKAGE}.{network}",
        "arch_kwargs": NETWORKS[network](configuration, **overrides),
        "_kw_requires_import": ["conv_op"],
    }


def deep_supervision_scales(architecture: Mapping[str, Any]) -> list[list[float]]:
    """Size of each output of the network over the size of its input, per axis, finest first; nnU-Net's own formula."""
    return (1 / np.cumprod(architecture["arch_kwargs"]["strides"], axis=0))[:-1].tolist()


def _require(arch_kwargs: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """These of a plan's arguments. Raises a ValueError where one is missing or empty."""
    if missing := [key for key in keys if not arch_kwargs.get(key)]:
        raise ValueError(
            f"the plan's arch_kwargs lack {' and '.join(missing)}, which our networks are derived from: "
            "use plans of nnU-Net's own planners, such as nnUNetPlans."
        )
    return {key: arch_kwargs[key] for key in keys}
