"""The architecture of one of our networks, derived from the planned one: the same downsampling, other blocks."""

from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any

import numpy as np

from nnunetv2_mamba.architectures._contract import UShapedNetwork
from nnunetv2_mamba.architectures.registry import NETWORKS, PACKAGE, dotted_name, find_network

NNUNETS_OWN = "dynamic_network_architectures."
"""The package of the networks that nnU-Net's own planners name."""


def network_class(architecture: Mapping[str, Any]) -> type[UShapedNetwork] | None:
    """The registered network that a plan's ``architecture`` entry names; None where it names another one."""
    name = architecture["network_class_name"]
    if "." in name and not name.startswith(NNUNETS_OWN):
        # The module of another package registers its networks when it is imported.
        with suppress(ImportError):
            import_module(name.rpartition(".")[0])
    return next((network for network in NETWORKS.values() if dotted_name(network) == name), None)


def is_ours(architecture: Mapping[str, Any]) -> bool:
    """Whether a plan's ``architecture`` entry already names one of our networks, or another registered one."""
    return architecture["network_class_name"].startswith(f"{PACKAGE}.") or network_class(architecture) is not None


def token_size(architecture: Mapping[str, Any]) -> list[int]:
    """Voxels of the image that a network's first layer joins to one position, per axis.

    Args:
        architecture: ``architecture`` entry of any plan, with ``strides``.
    """
    network = network_class(architecture) or UShapedNetwork
    return network.token_size(architecture["arch_kwargs"])


def mamba_architecture(configuration: Mapping[str, Any], network: str, **overrides: Any) -> dict[str, Any]:
    """The ``architecture`` entry of a configuration with one of our networks in the place of the planned one.

    Args:
        configuration: of nnU-Net's plan, with what it inherits: ``architecture``, in which ``conv_op`` is a dotted
            name, and ``spacing``, in mm per axis; without it, voxels count as isotropic.
        network: name of the network, as `find_network` takes it.
        overrides: arguments of the network that replace the derived ones, or are added to them.

    Returns:
        A JSON-serialisable entry; if the configuration names `network` already, a copy of its entry without overrides.

    Raises:
        ValueError: the network is unknown or does not have the dimension of the configuration, or it cannot be derived
            from the architecture, such as from another of our networks.
    """
    wanted = find_network(network)
    architecture = configuration["architecture"]
    if is_ours(architecture):
        if architecture["network_class_name"] != dotted_name(wanted):
            named = architecture["network_class_name"].rpartition(".")[2]
            raise ValueError(
                f"the plans name {named} already, and {network} cannot be derived from it: "
                f"use plans of nnU-Net's own planners, such as nnUNetPlans, or ask for {named}."
            )
        return dict(architecture)
    ndim = len(configuration["architecture"]["arch_kwargs"].get("strides", [[0, 0]])[0])
    if ndim not in wanted.dimensions:
        kinds = " and ".join(f"{ndim}D" for ndim in wanted.dimensions)
        raise ValueError(f"{network} is a network for {kinds} and this configuration is {ndim}D: choose another one.")
    return {
        "network_class_name": dotted_name(wanted),
        "arch_kwargs": wanted.from_plan(configuration, **overrides),
        "_kw_requires_import": ["conv_op"],
    }


def deep_supervision_scales(architecture: Mapping[str, Any]) -> list[list[float]]:
    """Size of each output divided by the size of the input, per axis, finest first; nnU-Net's own formula."""
    return (1 / np.cumprod(architecture["arch_kwargs"]["strides"], axis=0))[:-1].tolist()
