"""Skips training steps whose loss or gradient is not finite: they change no weights, optimizer state or statistics."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import inf, nan
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


class TrainingDivergedError(RuntimeError):
    """Training stopped, because too many steps in a row had no finite gradient; the message says how to go on."""


class GradientGuard:
    """Clips and checks gradients in hooks of the optimizer, so that the stock train_step is not changed.

    Without clipping, a training whose values are all finite is that of stock nnU-Net, bit for bit. A step with other
    values is skipped: the guard removes the gradients before the optimizer uses them, or GradScaler finds the problem
    first and does not call the optimizer. Under DDP all ranks decide alike, because their gradients are equal. Their
    losses differ, so a loss that is not finite sets its gradients to NaN, which reach all ranks. Finite gradients whose
    norm overflows float32, above about 1e19, are not detected: nnU-Net's own clipping has already set them to zero.

    Args:
        network: after a skipped step, its buffers, such as BatchNorm's running statistics, get their old values back.
        optimizer: its gradients are clipped and checked before each step.
        loss: returns one number.
        max_grad_norm: largest L2 norm of all gradients together; None for no clipping.

    Attributes:
        in_a_row: number of skipped steps in a row; 0 if the last step was not skipped.
        in_epoch: number of skipped steps since the trainer set this to 0.
    """

    def __init__(
        self, network: nn.Module, optimizer: Optimizer, loss: nn.Module, *, max_grad_norm: float | None = None
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
        """Context of a whole training step."""
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
