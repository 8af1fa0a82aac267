"""Which parameters of a Mamba network AdamW decays."""

from typing import Any

from torch import nn


def parameter_groups(network: nn.Module, weight_decay: float, decay_everything: bool) -> list[dict[str, Any]]:
    """Parameter groups for AdamW.

    Args:
        network: compiled or not.
        weight_decay: decoupled decay of the weights.
        decay_everything: whether all parameters are in one group with decay, as in VM-UNet's code. Otherwise a second
            group has no decay: norms, biases and other vectors, and the parameters that a block names in its attribute
            ``no_weight_decay``.
    """
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if decay_everything:
        return [{"params": parameters, "weight_decay": weight_decay}]
    spared = {id(getattr(block, name)) for block in network.modules() for name in getattr(block, "no_weight_decay", ())}
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for parameter in parameters:
        groups[parameter.ndim > 1 and id(parameter) not in spared].append(parameter)
    return [{"params": groups[True], "weight_decay": weight_decay}, {"params": groups[False], "weight_decay": 0.0}]
