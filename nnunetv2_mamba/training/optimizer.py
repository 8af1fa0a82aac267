"""Which parameters of a Mamba network AdamW decays."""

from typing import Any

from torch import nn

STATE_SPACE_PARAMETERS = frozenset({"A_logs", "A_log", "Ds", "dt_projs_bias"})
"""Parameters of a scan whose zero has no meaning of 'small': log decay rates, skip gains, log step sizes; in Mamba-1's
layer the latter two are vectors, and as such never decay."""


def parameter_groups(network: nn.Module, weight_decay: float, decay_everything: bool) -> list[dict[str, Any]]:
    """Parameter groups for AdamW.

    Args:
        network: compiled or not.
        weight_decay: decoupled decay of the weights.
        decay_everything: one group, as VM-UNet's code trains; otherwise norms, biases, gains and the scan's own
            parameters form a second group without decay, as mamba_ssm marks its own.
    """
    named = [(name, parameter) for name, parameter in network.named_parameters() if parameter.requires_grad]
    if decay_everything:
        return [{"params": [parameter for _, parameter in named], "weight_decay": weight_decay}]
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for name, parameter in named:
        groups[parameter.ndim > 1 and name.rpartition(".")[2] not in STATE_SPACE_PARAMETERS].append(parameter)
    return [{"params": groups[True], "weight_decay": weight_decay}, {"params": groups[False], "weight_decay": 0.0}]
