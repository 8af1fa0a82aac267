"""A loss with a weight for each sample, and each sample's own loss."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nnunetv2_mamba.training.per_sample import over_processes, per_sample_of

Weigh = Callable[[Tensor], Tensor]
"""Function from the samples' own losses (B,), NaN where a sample shows no lesion, to their weights (B,)."""


@dataclass
class Observation:
    """What `CaseWeightedLoss.observing` records.

    Attributes:
        losses: each sample's own loss (B,), NaN where it shows no lesion; None before the step.
    """

    losses: Tensor | None = None


class CaseWeightedLoss(nn.Module):
    """A trainer's own loss, and within `observing` the same loss with a weight for each sample.

    The weights w_i are scaled to a mean of 1 over the batches of all processes. Equal weights give the loss itself.

    Args:
        stock: nnU-Net's own, what its `_build_loss` returns, or any `PerSampleLoss`.
        ddp: whether the batch is spread over processes.

    Raises:
        TypeError: `stock` is another loss.
    """

    def __init__(self, stock: nn.Module, ddp: bool = False) -> None:
        super().__init__()
        self.stock = stock
        self.ddp = ddp
        self._per_sample = per_sample_of(stock).per_sample
        self._weigh: Weigh | None = None
        self._observation: Observation | None = None

    @contextmanager
    def observing(self, weigh: Weigh | None) -> Iterator[Observation]:
        """Context in which the samples' own losses are recorded in the yielded observation, and weighted.

        Args:
            weigh: gives the weights; with None the loss is the stock loss, bit for bit.
        """
        self._weigh, self._observation = weigh, Observation()
        try:
            yield self._observation
        finally:
            self._weigh = self._observation = None

    def forward(self, output: Tensor | Sequence[Tensor], target: Tensor | Sequence[Tensor]) -> Tensor:
        """Loss of a batch.

        Args:
            output: logits (B, C, *spatial), or a list of them with deep supervision, full resolution first.
            target: the trainer's targets of the same resolutions.
        """
        if self._observation is None:
            return self.stock(output, target)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self._weigh is not None):
            samples = self._per_sample(output, target, ddp=self.ddp)
        self._observation.losses = samples.losses
        if self._weigh is None:
            return self.stock(output, target)
        weights = self._weigh(samples.losses)
        number = over_processes(torch.ones_like(weights).sum(), self.ddp)
        return samples.weighted(weights / over_processes(weights.sum(), self.ddp) * number)
