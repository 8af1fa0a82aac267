"""The short causal convolution in front of a Mamba scan: torch's own against the other backends, in both layouts.

Behind a linear map channels lie side by side in memory, and the scan wants them so; the reference code has time so.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.machine import Table, in_turn
from nnunetv2_mamba.ops import causal_conv1d
from nnunetv2_mamba.ops.backends import Call
from nnunetv2_mamba.ops.convolution.registry import REGISTRY

SHAPE = (1, 768, 4096)
"""(B, D, L)."""
WIDTH = 4
LAYOUTS = {"channels last": True, "channels first": False}


def measure_convolutions(device: str, shape: tuple[int, int, int] = SHAPE) -> dict[str, Any]:
    """Seconds of both passes of every backend that works on a device, by layout, and why others do not."""
    batch, channels, length = shape
    weights = torch.randn(channels, WIDTH), torch.randn(channels)
    refusals = {name: REGISTRY.refusal(name, Call(device, d_state=WIDTH)) for name in REGISTRY.backends}
    runs = {}
    for layout, channels_last in LAYOUTS.items():
        x = torch.randn(batch, length, channels).transpose(1, 2) if channels_last else torch.randn(shape)
        leaves = [tensor.to(device).requires_grad_() for tensor in (x, *weights)]
        for name in (name for name, reason in refusals.items() if reason is None):
            runs[f"{name}, {layout} forward"] = partial(_forward, name, leaves)
            runs[f"{name}, {layout} both"] = partial(_both, name, leaves)
    absent = {name: reason for name, reason in refusals.items() if reason is not None}
    return {"shape": list(shape), "seconds": in_turn(runs, 3, device), "absent": absent}


def convolution_table(figures: dict[str, Any]) -> Table:
    """Of kept figures."""
    seconds = figures["seconds"]
    rows = [("convolution with SiLU", "forward (ms)", "forward and backward (ms)")]
    for name in dict.fromkeys(run.rpartition(" ")[0] for run in seconds):
        rows.append((name, *(f"{1000 * seconds[f'{name} {pass_}']:.2f}" for pass_ in ("forward", "both"))))
    rows += [(name, f"not measured: {reason}", "") for name, reason in figures["absent"].items()]
    return Table(f"causal_conv1d, (B, D, L) = {tuple(figures['shape'])}, width {WIDTH}", rows)


def _forward(name: str, leaves: list[Tensor]) -> Tensor:
    with torch.no_grad():
        return causal_conv1d(*leaves, "silu", backend=name)


def _both(name: str, leaves: list[Tensor]) -> tuple[Tensor, ...]:
    y = causal_conv1d(*leaves, "silu", backend=name)
    return torch.autograd.grad(y, leaves, torch.ones_like(y))
