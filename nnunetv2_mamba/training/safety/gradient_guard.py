"""Training steps whose loss or gradient is not finite leave no trace in weights, optimizer and running statistics."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import inf, nan
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


class TrainingDivergedError(RuntimeError):
    """So many steps in a row gave no finite gradient that training stopped; the message says where to go on."""


class GradientGuard:
    """Clips and checks gradients from inside the optimizer, through hooks, so that the stock train_step stays as it is.

    Where everything is finite, every bit of the training is that of stock nnU-Net. Otherwise the step is skipped: the
    optimizer finds no gradients, or GradScaler, having found the same, does not call it at all. Gradients are equal on
    all ranks, hence so is the decision; a loss, which is not, takes part by turning its gradients into NaN. Finite
    gradients whose norm is beyond float32, about 1e19, become zeros in nnU-Net's own clipping before this can see them.

    Args:
        network: its buffers, such as BatchNorm's running statistics, return to their values before a skipped step.
        optimizer: has its gradients clipped and checked before each step.
        loss: returns one number.
        max_grad_norm: gradients are scaled down to this L2 norm of all together; None for no clipping.

    Attributes:
        in_a_row: how many steps up to the last were skipped, 0 if the last one was not.
        in_epoch: how many were skipped since someone set this to 0.
    """

    def __init__(
        self, network: nn.Module, optimizer: Optimizer, loss: nn.Module, max_grad_norm: float | None = None
    ) -> None:
        self.in_a_row = 0
        self.in_epoch = 0
        self._max_grad_norm = inf if max_grad_norm is None else max_grad_norm
        self._stepped = False
        self._buffers = list(network.buffers())
        self._before = [buffer.clone() for buffer in self._buffers]
        optimizer.register_step_pre_hook(self._clip_and_check)
        loss.register_forward_hook(_spread_non_finite)

    @contextmanager
    def step(self) -> Iterator[None]:
        """Around a whole training step."""
        self._stepped = False
        _copy(self._before, self._buffers)
        yield
        if self._stepped:
            self.in_a_row = 0
        else:
            _copy(self._buffers, self._before)
            self.in_a_row += 1
            self.in_epoch += 1

    def _clip_and_check(self, optimizer: Optimizer, *_: Any) -> None:
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(parameters, self._max_grad_norm)
        self._stepped = bool(torch.isfinite(norm))
        if not self._stepped:
            optimizer.zero_grad(set_to_none=True)


def _copy(targets: list[Tensor], sources: list[Tensor]) -> None:
    if targets:
        torch._foreach_copy_(targets, sources)


def _spread_non_finite(module: nn.Module, arguments: tuple[Any, ...], loss: Tensor) -> Tensor | None:
    # An infinite loss can have finite gradients, and under DDP another rank's loss may be finite.
    if not loss.requires_grad:
        return None
    return loss * torch.where(torch.isfinite(loss.detach()), 1.0, nan)
