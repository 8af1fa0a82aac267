"""Small members of every network of the registry, for tests that sweep over them.

A test gives strides as nnU-Net's formula reads them: the scales of the outputs are 1 / cumprod(strides)[:-1]. Networks
with a patch embedding have a stage for each entry but the first; the others have one for the first too, at full
resolution, which here gets half the width of the next. What tells the networks apart is read off their classes.
"""

from collections.abc import Sequence
from inspect import signature
from typing import Any

import pytest
from torch import nn

from nnunetv2_mamba.architectures.registry import NETWORKS

WIDTHS = (8, 12, 16, 24)
OPTIONAL = ("d_state", "drop_path_rate", "finest_skip")
"""Arguments that a test gives to those networks that have them."""

OF_CONV_STEMS = ("kernel_sizes", "conv_stages")
"""Arguments that have no effect on a network whose stem is a patch embedding."""

FINE = ", conv stem"

MEMBERS = [
    *NETWORKS,
    *(f"{name}{FINE}" for name, network in NETWORKS.items() if "stem" in signature(network).parameters),
]
"""Every network of the registry, and those that take it once more with a convolutional stem."""

sweep = pytest.mark.parametrize("name", MEMBERS)


def network_class(name: str) -> type[nn.Module]:
    """The class of a member."""
    return NETWORKS[name.removesuffix(FINE)]


def accepts(name: str, argument: str) -> bool:
    """Whether such an argument has an effect on a member."""
    parameters = signature(network_class(name)).parameters
    has_conv_stem = "stem" not in parameters or name.endswith(FINE)
    return argument in parameters and (has_conv_stem or argument not in OF_CONV_STEMS)


def has_full_resolution_stage(name: str) -> bool:
    """Whether the first stage of a network has the resolution of the image, instead of a patch embedding before it."""
    parameters = signature(network_class(name)).parameters
    return name.endswith(FINE) or len(parameters["strides"].default) == len(parameters["features_per_stage"].default)


def sweep_those_with(argument: str) -> pytest.MarkDecorator:
    """As `sweep`, but only networks whose constructor has an argument."""
    return pytest.mark.parametrize("name", [name for name in MEMBERS if accepts(name, argument)])


def sweep_values(argument: str, *values: Any) -> pytest.MarkDecorator:
    """As `sweep`, with ``options`` that give an argument each of these values, or nothing to networks without it."""
    cases = [
        pytest.param(name, options, id=f"{name}-{'-'.join(map(str, options.values()))}".rstrip("-"))
        for name in MEMBERS
        for options in ([{argument: value} for value in values] if accepts(name, argument) else [{}])
    ]
    return pytest.mark.parametrize(("name", "options"), cases)


def small_arguments(
    name: str,
    strides: Sequence[int | Sequence[int]],
    widths: Sequence[int] = WIDTHS,
    n_blocks_per_stage: int | Sequence[int] = 1,
    **arguments: Any,
) -> dict[str, Any]:
    """Arguments of a small network, all but its numbers of channels and classes.

    Args:
        name: of the network.
        strides: one entry more than there are levels, see above.
        widths: of the levels, finest first; those of further levels are not used.
        n_blocks_per_stage: blocks of each of these levels.
        arguments: further ones; those in `OPTIONAL` are left out where the network has none of that name.
    """
    features = list(widths[: len(strides) - 1])
    blocks = n_blocks_per_stage if isinstance(n_blocks_per_stage, int) else list(n_blocks_per_stage)
    if has_full_resolution_stage(name):
        features.insert(0, widths[0] // 2)
        blocks = blocks if isinstance(blocks, int) else [1, *blocks]
    sizes = {"features_per_stage": features, "strides": strides, "n_blocks_per_stage": blocks}
    if name.endswith(FINE):
        sizes |= {"stem": "conv", "conv_stages": max(1, min(2, len(features) - 2))}
        if "n_blocks_per_stage_decoder" in arguments:
            arguments["n_blocks_per_stage_decoder"] = [*arguments["n_blocks_per_stage_decoder"], 1]
    return sizes | {"n_blocks_per_stage_decoder": 1} | _fixed(name) | _accepted(name, arguments)


def small_overrides(name: str, widths: Sequence[int], **arguments: Any) -> dict[str, Any]:
    """What makes a network small that is derived from a plan; as in `small_arguments`.

    A patch embedding stands for the first three stages of a plan, and of the others two come before the levels.
    """
    before = [widths[0]] * 2 if has_full_resolution_stage(name) else []
    stem = {"stem": "conv"} if name.endswith(FINE) else {}
    return {"features_per_stage": [*before, *widths]} | stem | _accepted(name, arguments)


def small_network(
    name: str, input_channels: int, num_classes: int, strides: Sequence[int | Sequence[int]], **arguments: Any
) -> nn.Module:
    """A small network; arguments as in `small_arguments`."""
    return network_class(name)(input_channels, num_classes, **small_arguments(name, strides, **arguments))


def _fixed(name: str) -> dict[str, Any]:
    """Arguments of small members unless a test says otherwise: few states, and heads where a plan asks for them."""
    planned = {"strides": [[1, 1], [2, 2]], "conv_op": "Conv2d"}
    planned |= {"features_per_stage": [4, 8], "kernel_sizes": [[3, 3]] * 2}
    arguments = network_class(name).from_plan({"architecture": {"arch_kwargs": planned}})
    heads = {"side_heads": True} if arguments.get("side_heads") else {}
    return heads | ({"d_state": 4} if accepts(name, "d_state") else {})


def _accepted(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in arguments.items() if key not in OPTIONAL or accepts(name, key)}
