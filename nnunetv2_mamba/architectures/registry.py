"""The networks by name, as plans, trainers, tests and the command line find them."""

import inspect
from importlib import import_module
from typing import TypeVar

from nnunetv2_mamba.architectures._contract import UShapedNetwork

PACKAGE = "nnunetv2_mamba.architectures"

NETWORKS: dict[str, type[UShapedNetwork]] = {}
"""Every registered network by the name of its class."""

FACTS = ("from_plan", "publication")
"""What a network must state; `UShapedNetwork` says what each means."""

AnyNetwork = TypeVar("AnyNetwork", bound=type[UShapedNetwork])


def register(network: AnyNetwork) -> AnyNetwork:
    """Make a network known by the name of its class; a class decorator.

    Args:
        network: the class.

    Raises:
        TypeError: the class does not state a fact that every network has to state.
        ValueError: another network has this name.
    """
    missing = [fact for fact in FACTS if getattr(network, fact, None) is None or _is_inherited(network, fact)]
    if missing:
        raise TypeError(
            f"{inspect.getfile(network)}: the network {network.__name__} does not state {' and '.join(missing)}; add "
            "it to the class as the other networks do."
        )
    known = NETWORKS.setdefault(network.__name__, network)
    if dotted_name(known) != dotted_name(network):
        raise ValueError(
            f"there are two networks {network.__name__}, {dotted_name(known)} and {dotted_name(network)}: rename one."
        )
    NETWORKS[network.__name__] = network
    return network


def find_network(name: str) -> type[UShapedNetwork]:
    """A registered network.

    Args:
        name: of its class; for a network outside of this package that has not been imported yet, with its module in
            front, such as ``my_package.networks.MyNetwork``.

    Raises:
        ValueError: no network has that name.
    """
    module, _, class_name = name.rpartition(".")
    if module and module != PACKAGE:
        try:
            import_module(module)
        except ImportError as error:
            raise ValueError(f"the network {name} cannot be imported ({error}): check its name.") from error
    network = NETWORKS.get(class_name)
    if network is None or (module and dotted_name(network) != name):
        raise ValueError(f"unknown network {name}: choose one of {', '.join(NETWORKS)}.")
    return network


def dotted_name(network: type[UShapedNetwork]) -> str:
    """The name under which a plan finds a network: `PACKAGE` or the module of another package, and the class."""
    module = PACKAGE if network.__module__.startswith(f"{PACKAGE}.") else network.__module__
    return f"{module}.{network.__qualname__}"


def _is_inherited(network: type[UShapedNetwork], fact: str) -> bool:
    """Whether a class has nothing of its own in place of what `UShapedNetwork` only declares."""
    declared = vars(UShapedNetwork).get(fact)
    return declared is not None and inspect.getattr_static(network, fact) is declared
