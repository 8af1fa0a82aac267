"""Cells of the scan's tables: one contender on one shape, in a process of its own, or the reason why it is left out."""

from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

import numba
import torch
from torch import Tensor

from benchmarks.contenders import Contender, Inputs, contenders, draw_grid, draw_inputs, grid_contender
from benchmarks.machine import MIB, in_turn, timed
from benchmarks.processes import available_memory, extra_memory, with_own_peak

MAX_SECONDS, MAX_SECONDS_OF_OURS, MAX_SECONDS_OF_SHORT = 4.0, 30.0, 15.0
"""Longest forward and backward pass that is still measured: by others, by our kernels, and up to `SHORT` positions."""
SHORT = 4096
OUR_KERNELS = ("numba", "triton")
MAX_MEMORY = 6 * 2**30
LONG = 1.0
"""Seconds from which on a pass is timed once."""
QUADRATIC = ("selective_scan_ref",)
"""Contenders whose backward pass takes time quadratic in the length."""
SKIPPED_TOO = "a shorter one was skipped"
SMALL = (2, 32, 64, 16)
"""(B, D, L, N) to compile with."""


@dataclass(frozen=True)
class Cell:
    """What is measured in one process.

    Attributes:
        contender: its name.
        channels: D.
        spatial: (L,) for `selective_scan`, a grid for `cross_selective_scan` in all its directions.
        d_state: N.
        device: torch device type.
    """

    contender: str
    channels: int
    spatial: tuple[int, ...]
    d_state: int
    device: str = "cpu"

    @property
    def length(self) -> int:
        """L."""
        return torch.Size(self.spatial).numel()

    def prepared(self) -> tuple[Contender, Inputs]:
        """The contender, compiled, and its inputs."""
        if len(self.spatial) > 1:
            contender = grid_contender(self.contender, self.device)
            small = draw_grid(32, (4,) * len(self.spatial), self.d_state, self.device)
            inputs = draw_grid(self.channels, self.spatial, self.d_state, self.device)
        else:
            contender = contenders(self.device)[self.contender]
            small = draw_inputs(*SMALL[:3], self.d_state, self.device)
            inputs = draw_inputs(1, self.channels, self.length, self.d_state, self.device)
        contender.gradients(small, torch.ones_like(small[0]))
        return contender, inputs


def measure_cell(cell: Cell) -> dict[str, Any]:
    """Seconds and extra bytes of the forward pass alone and of both passes; for a process of its own."""
    contender, inputs = cell.prepared()
    dy = torch.ones_like(inputs[0])
    runs: dict[str, Callable[[], list[Tensor]]] = {
        "both": lambda: contender.gradients(inputs, dy),
        "forward": lambda: [run_forward(contender, inputs)],
    }
    figures: dict[str, Any] = {}
    # y, of the size of dy, is a result too that is given back before the end.
    given_back = {"both": dy.nbytes, "forward": 0}
    for pass_, run in runs.items():
        needed, seconds = extra_memory(run, cell.device)
        figures[f"{pass_}_bytes"] = None if needed is None else max(0, needed - given_back[pass_])
        if seconds < LONG:
            seconds = min(seconds, in_turn({pass_: run}, 1, cell.device)[pass_])
        figures[f"{pass_}_seconds"] = seconds
    return figures


def run_forward(contender: Contender, inputs: Inputs) -> Tensor:
    """The output, without preparing a backward pass."""
    with torch.no_grad():
        return contender.scan(inputs)


def too_much(
    previous: dict[str, Any] | None,
    growth: float,
    available: int | None,
    max_seconds: float = MAX_SECONDS,
    order: int = 1,
) -> str | None:
    """Why a cell is not measured, going by that of the next shorter length, or None.

    Args:
        previous: figures of that cell; None where there is none.
        growth: how many times as long this one is.
        available: bytes of memory that are there.
        max_seconds: longest forward and backward pass that is still measured.
        order: power of the length that time grows with.
    """
    if previous is None:
        return None
    if "skipped" in previous:
        return SKIPPED_TOO
    if (seconds := growth**order * previous["both_seconds"]) > max_seconds:
        return f"about {seconds:.0f} s a run"
    limit = min(MAX_MEMORY, available // 2) if available else MAX_MEMORY
    if (needed := growth * (previous["both_bytes"] or 0)) > limit:
        return f"about {needed / 2**30:.0f} GiB"
    return None


def measured_or_not(cell: Cell, before: tuple[Cell, dict[str, Any]] | None) -> dict[str, Any]:
    """Figures of a cell, or the reason why it is left out.

    Args:
        cell: to be measured.
        before: a smaller one of the same contender, and its figures.
    """
    growth = cell.length / before[0].length if before else 1.0
    max_seconds = MAX_SECONDS_OF_SHORT if cell.length <= SHORT else MAX_SECONDS
    max_seconds = MAX_SECONDS_OF_OURS if cell.contender in OUR_KERNELS else max_seconds
    order = 2 if cell.contender in QUADRATIC else 1
    if reason := too_much(before[1] if before else None, growth, available_memory(), max_seconds, order):
        figures: dict[str, Any] = {"skipped": reason}
    else:
        figures = measured(cell)
    print(f"{cell.contender}, D {cell.channels}, N {cell.d_state}, {cell.spatial}: {cell_text(figures)}", flush=True)
    return figures


def measured(cell: Cell) -> dict[str, Any]:
    """Figures of a cell, or that memory did not suffice."""
    try:
        return with_own_peak(measure_cell, cell, device=cell.device)
    except (BrokenProcessPool, MemoryError, torch.OutOfMemoryError):
        return {"skipped": "out of memory"}


def first_call(cache: str) -> float:
    """Seconds of the first forward and backward pass in a process of its own, self-check included.

    Args:
        cache: folder of numba's machine code.
    """
    numba.config.CACHE_DIR = cache
    contender, inputs = contenders("cpu")["numba"], draw_inputs(*SMALL)
    return timed(lambda: contender.gradients(inputs, torch.ones_like(inputs[0])))


def cell_text(cell: dict[str, Any]) -> str:
    """Figures of a cell for a table."""
    if "skipped" in cell:
        return "skipped too" if cell["skipped"] == SKIPPED_TOO else f"skipped: {cell['skipped']}"
    times = " / ".join(f"{1000 * cell[name]:.3g}" for name in ("forward_seconds", "both_seconds"))
    memory = cell["both_bytes"]
    return times if memory is None else f"{times}; {memory / MIB:.0f}"
