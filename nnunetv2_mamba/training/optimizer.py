"""AdamW for Mamba networks: which parameters decay, and gradients that are clipped before each step."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Optimizer

STATE_SPACE_PARAMETERS = frozenset({"A_logs", "Ds", "dt_projs_bias"})
"""Parameters of a scan whose zero has no meaning of 'small': log decay rates, skip gains, log step sizes."""


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


def clipped_adamw(groups: list[dict[str, Any]], lr: float, max_grad_norm: float) -> AdamW:
    """AdamW that scales the gradient down to a norm before each of its steps.

    Clipping sits in the optimizer, where the gradients have been unscaled and DDP has averaged them, because the stock
    train_step, which we keep, clips at a constant.

    Args:
        groups: parameter groups.
        lr: learning rate of the first epoch.
        max_grad_norm: largest L2 norm of all gradients together.
    """
    optimizer = AdamW(groups, lr=lr)
    optimizer.register_step_pre_hook(_clip(max_grad_norm))
    return optimizer


def _clip(max_grad_norm: float) -> Callable[[Optimizer, Any, Any], None]:
    def hook(optimizer: Optimizer, *_: Any) -> None:
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, max_grad_norm)

    return hook
