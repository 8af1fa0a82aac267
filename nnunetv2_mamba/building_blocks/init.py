"""How linear maps and scans start."""

import math

import torch
from torch import Tensor, nn


def init_vss_weights(module: nn.Module) -> None:
    """Start a linear layer from a normal of deviation 0.02 cut at 2, without bias; for use with `nn.Module.apply`.

    Convolutions and the raw parameters of the scan keep their own start, and LayerNorm's default is the wanted one.
    Source: VMamba v0.
    """
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


@torch.no_grad()
def init_scan_parameters(
    *, dt_weight: Tensor, dt_bias: Tensor, A_log: Tensor, D: Tensor, dt_min: float = 1e-3, dt_max: float = 0.1
) -> None:
    """Mamba's start: A = -(1..N) in every channel, D = 1, step sizes spread log-uniformly over [dt_min, dt_max].

    Source: Mamba, arXiv 2312.00752, sec. 3.6.

    Args:
        dt_weight: maps the low-rank step sizes to those of the channels (..., D, R).
        dt_bias: added to them in front of the softplus (..., D).
        A_log: log of -A (..., N).
        D: skip weights (...,).
        dt_min: smallest step size that the bias alone gives.
        dt_max: largest.
    """
    nn.init.uniform_(dt_weight, -(dt_weight.shape[-1] ** -0.5), dt_weight.shape[-1] ** -0.5)
    log_dt = torch.empty_like(dt_bias).uniform_(math.log(dt_min), math.log(dt_max))
    dt = log_dt.exp().clamp(min=1e-4)
    dt_bias.copy_(dt + torch.log(-torch.expm1(-dt)))
    A_log.copy_(torch.arange(1, A_log.shape[-1] + 1, dtype=torch.float32, device=A_log.device).log().expand_as(A_log))
    D.fill_(1.0)
