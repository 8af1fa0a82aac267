"""Small members of every network of the registry, for tests that sweep over them; the one place that tells them apart.

A test gives strides as nnU-Net's formula reads them: the scales of the outputs are 1 / cumprod(strides)[:-1]. Networks
with a patch embedding have a stage for each entry but the first; the others have one for the first too, at full
resolution, which here gets half the width of the next.
"""

from collections.abc import Sequence
from inspect import signature
from typing import Any, NamedTuple

import pytest
from torch import nn

from nnunetv2_mamba.architectures.registry import NETWORKS


class Small(NamedTuple):
    """What small members of a network are made of.

    Attributes:
        fixed: arguments that all of them have where the test does not say otherwise.
        full_resolution_stage: whether there is one, before those that the test describes.
    """

    fixed: dict[str, Any]
    full_resolution_stage: bool = False


SMALL = {
    "VMUNet": Small({"d_state": 4, "side_heads": True}),
    "S3Mamba": Small({"d_state": 4}),
    "SAUMamba": Small({"d_state": 4, "side_heads": True}),
    "SegMamba": Small({}, full_resolution_stage=True),
}
WIDTHS = (8, 12, 16, 24)
OPTIONAL = ("d_state", "drop_path_rate", "finest_skip")
"""Arguments that a test gives to those networks that have them."""

sweep = pytest.mark.parametrize("name", NETWORKS)


def accepts(name: str, argument: str) -> bool:
    """Whether a network's constructor has such an argument."""
    return argument in signature(NETWORKS[name]).parameters


def sweep_those_with(argument: str) -> pytest.MarkDecorator:
    """As `sweep`, but only networks whose constructor has an argument."""
    return pytest.mark.parametrize("name", [name for name in NETWORKS if accepts(name, argument)])


def sweep_values(argument: str, *values: Any) -> pytest.MarkDecorator:
    """As `sweep`, with ``options`` that give an argument each of these values, or nothing to networks without it."""
    cases = [
        pytest.param(name, options, id=f"{name}-{'-'.join(map(str, options.values()))}".rstrip("-"))
        for name in NETWORKS
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
    small = SMALL[name]
    features = list(widths[: len(strides) - 1])
    blocks = n_blocks_per_stage if isinstance(n_blocks_per_stage, int) else list(n_blocks_per_stage)
    if small.full_resolution_stage:
        features.insert(0, widths[0] // 2)
        blocks = blocks if isinstance(blocks, int) else [1, *blocks]
    sizes = {"features_per_stage": features, "strides": strides, "n_blocks_per_stage": blocks}
    return sizes | {"n_blocks_per_stage_decoder": 1} | small.fixed | _accepted(name, arguments)


def small_overrides(name: str, widths: Sequence[int], **arguments: Any) -> dict[str, Any]:
    """What makes a network small that is derived from a plan; as in `small_arguments`.

    A patch embedding stands for the first three stages of a plan, and of the others two come before the levels.
    """
    before = [widths[0]] * 2 if SMALL[name].full_resolution_stage else []
    return {"features_per_stage": [*before, *widths]} | _accepted(name, arguments)


def small_network(
    name: str, input_channels: int, num_classes: int, strides: Sequence[int | Sequence[int]], **arguments: Any
) -> nn.Module:
    """A small network; arguments as in `small_arguments`."""
    return NETWORKS[name](input_channels, num_classes, **small_arguments(name, strides, **arguments))


def _accepted(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in arguments.items() if key not in OPTIONAL or accepts(name, key)}
