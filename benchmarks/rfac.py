"""``python -m benchmarks.rfac``: SA-UMamba's RFAC, as it was published and as we have it: time and memory of a pass.

The published form lays the taps of every position out as a grid of three times the size per axis and runs a convolution
of stride 3 over it. Ours is a linear map of all taps, made one tap at a time in both passes (`RFAC`); in between is the
same linear map of all taps at once, as PyTorch differentiates it. All must agree before anything is measured.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.machine import MIB, in_turn, report
from benchmarks.processes import extra_memory, in_fresh_process
from nnunetv2_mamba.building_blocks import RFAC

SHAPES = ((2, 64, 64, 96), (2, 16, 16, 384), (2, 8, 8, 768), (2, 10, 14, 10, 96))
"""Tokens (B, *spatial, C): three levels of a 256x256 patch, and the first one of a 40x56x40 patch."""
CONVOLUTIONS: dict[int, Callable[..., Tensor]] = {2: F.conv2d, 3: F.conv3d}
FORMS = ("published grid", "all taps at once", "tap by tap")


def published_grid(rfac: RFAC, x: Tensor) -> Tensor:
    """Sum over the taps of tokens (B, *spatial, C), before the last norm."""
    axes, taps, size = x.ndim - 2, rfac.taps, x.shape[1:-1]
    features = rfac.feature_norm(_taps(rfac, x)).relu().unflatten(1, (taps, -1))
    cells = features * rfac.attention_weights(x).movedim((-2, -1), (1, 2))
    grid = cells.unflatten(1, (3,) * axes).movedim(axes + 1, 1)
    pairs = [axis for first in range(2, 2 + axes) for axis in (first + axes, first)]
    grid = grid.permute(0, 1, *pairs).reshape(len(x), -1, *(3 * length for length in size))
    kernel = rfac.weight.permute(2, 1, 0).unflatten(-1, (3,) * axes)
    return CONVOLUTIONS[axes](grid, kernel, stride=3).movedim(1, -1)


def _taps(rfac: RFAC, x: Tensor) -> Tensor:
    """Features before their norm, (B, taps * C, *spatial), by a grouped convolution as the published code has it."""
    channels = x.shape[-1]
    kernels = rfac.kernels.unflatten(0, (rfac.taps, -1)).transpose(0, 1).flatten(0, 1)
    by_channel = CONVOLUTIONS[x.ndim - 2](x.movedim(-1, 1).contiguous(), kernels, padding=1, groups=channels)
    return by_channel.unflatten(1, (channels, -1)).transpose(1, 2).flatten(1, 2)


def run(form: str, rfac: RFAC, x: Tensor) -> Tensor:
    """The sum in one of `FORMS`."""
    if form == "published grid":
        return published_grid(rfac, x)
    return rfac._all_taps(x) if form == "all taps at once" else rfac._tap_by_tap(x)


def gradients(form: str, rfac: RFAC, x: Tensor) -> list[Tensor]:
    """Both passes."""
    leaves = [x, rfac.attention, rfac.kernels, rfac.feature_norm.weight, rfac.feature_norm.bias, rfac.weight]
    y = run(form, rfac, x)
    return list(torch.autograd.grad(y, leaves, torch.ones_like(y)))


def prepared(shape: tuple[int, ...]) -> tuple[RFAC, Tensor]:
    """A module and its input."""
    torch.manual_seed(0)
    rfac = RFAC(shape[-1], nn.Conv2d if len(shape) == 4 else nn.Conv3d)
    return rfac, torch.randn(shape, requires_grad=True)


def require_parity() -> None:
    """Stop where the forms differ. Raises an AssertionError."""
    for shape in ((2, 5, 6, 4), (2, 3, 4, 5, 4)):
        rfac, x = prepared(shape)
        rfac, x = rfac.double(), x.detach().double().requires_grad_()
        wanted = [run(FORMS[0], rfac, x), *gradients(FORMS[0], rfac, x)]
        for form in FORMS[1:]:
            torch.testing.assert_close([run(form, rfac, x), *gradients(form, rfac, x)], wanted)


def extra_bytes(form: str, shape: tuple[int, ...], threads: int) -> int | None:
    """Peak of both passes beyond input, parameters and gradients; for a process of its own."""
    torch.set_num_threads(threads)
    rfac, x = prepared(shape)
    gradients(form, *prepared((1, *(4,) * (len(shape) - 2), 8)))
    return extra_memory(partial(gradients, form, rfac, x))[0]


def measure(shape: tuple[int, ...]) -> dict[str, Any]:
    """Seconds of the forward pass and of both, in turns, and peak bytes of both, by form."""
    rfac, x = prepared(shape)
    both = in_turn({form: partial(gradients, form, rfac, x) for form in FORMS}, 3)
    with torch.no_grad():
        forward = in_turn({form: partial(run, form, rfac, x) for form in FORMS}, 3)
    threads = torch.get_num_threads()
    memory = {form: in_fresh_process(extra_bytes, form, shape, threads) for form in FORMS}
    return {"shape": list(shape), "forward_seconds": forward, "seconds": both, "extra_bytes": memory}


def main() -> None:
    """Check, measure and report."""
    require_parity()
    results = [measure(shape) for shape in SHAPES]
    rows = [("tokens", "form", "forward (ms)", "both (ms)", "of the grid's", "memory (MiB)", "of the grid's")]
    for result in results:
        seconds, memory = result["seconds"], result["extra_bytes"]
        for form in FORMS:
            share = ("", "") if None in memory.values() else (memory[form] / MIB, memory[form] / memory[FORMS[0]])
            rows.append(
                (
                    "x".join(map(str, result["shape"])),
                    form,
                    f"{1e3 * result['forward_seconds'][form]:.1f}",
                    f"{1e3 * seconds[form]:.1f}",
                    f"{seconds[form] / seconds[FORMS[0]]:.2f}",
                    *(f"{value:.3g}" if value != "" else "" for value in share),
                )
            )
    report("rfac", {"shapes": results}, rows)


if __name__ == "__main__":
    main()
