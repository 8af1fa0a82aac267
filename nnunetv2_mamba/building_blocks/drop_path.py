"""Stochastic depth."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class DropPath(nn.Module):
    """Drop a residual branch for whole samples, at training time only; the samples that keep it are scaled up.

    Source: Deep networks with stochastic depth, arXiv 1603.09382.

    Args:
        rate: probability that a sample loses the branch, in [0, 1).

    Raises:
        ValueError: the rate lies outside [0, 1).
    """

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        if not 0.0 <= rate < 1.0:
            raise ValueError(f"the drop-path rate is {rate}; it must lie in [0, 1)")
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Drop samples of the branch x (B, ...)."""
        factor = self.factor(x)
        return x if factor is None else x * factor

    def factor(self, x: Tensor) -> Tensor | None:
        """What the branch x (B, ...) is multiplied by, (B, 1, ...): drawn at each call; None where it is 1."""
        if not self.training or self.rate == 0.0:
            return None
        kept = torch.rand(x.shape[0], *(1,) * (x.ndim - 1), device=x.device) >= self.rate
        return kept.to(x.dtype) / (1.0 - self.rate)

    def extra_repr(self) -> str:
        """Show the rate."""
        return f"rate={self.rate:g}"


def linear_rates(rate: float, n_blocks_per_stage: Sequence[int]) -> list[list[float]]:
    """Drop-path rates that rise linearly from 0 in the first block to ``rate`` in the last, grouped by stage."""
    # Numbers, also where modules are made on another device, such as torch's "meta".
    rates = torch.linspace(0, rate, sum(n_blocks_per_stage), dtype=torch.float64, device="cpu")
    return [stage.tolist() for stage in rates.split(list(n_blocks_per_stage))]
