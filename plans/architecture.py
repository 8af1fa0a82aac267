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
    """Constructor arguments of a VSS network (VMUNet, S3Mamba) that downsamples as the planned U-Net does.

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
    if missing := [key for key in ("strides", "conv_op") if not arch_kwargs.get(key)]:
        raise ValueError(
            f"the plan's arch_kwargs lack {' and '.join(missing)}, which our networks are derived from: "
            "use plans of nnU-Net's own planners, such as nnUNetPlans."
        )
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
    """Constructor arguments of VMUNet; as in `vss_kwargs`."""
    return vss_kwargs(configuration["architecture"]["arch_kwargs"], **{"side_heads": True} | overrides)


def s3mamba_kwargs(configuration: Mapping[str, Any], **overrides: Any) -> dict[str, Any]:
    """Constructor arguments of S3Mamba: as in `vss_kwargs`, with the planned voxel spacing, in which it sees edges."""
    planned: dict[str, Any] = {"spacing": configuration.get("spacing")}
    return vss_kwargs(configuration["architecture"]["arch_kwargs"], **planned | overrides)


NETWORKS: dict[str, Callable[..., dict[str, Any]]] = {"VMUNet": vmunet_kwargs, "S3Mamba": s3mamba_kwargs}
"""Networks that a plan can be turned into, with the function that makes their arguments from a configuration."""


def is_ours(architecture: Mapping[str, Any]) -> bool:
    """Whether a plan's ``architecture`` entry already names one of our networks."""
    return architecture["network_class_name"].startswith(PACKAGE + ".")


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
