"""Processes of their own, in which a peak of memory belongs to what is measured and to nothing before it."""

import ctypes
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from benchmarks.machine import timed

Result = TypeVar("Result")

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4
"""Numbers of glibc's `mallopt`."""


def in_fresh_process(function: Callable[..., Result], *arguments: Any) -> Result:
    """Call an importable function in a new process, which has nothing of this one's memory.

    Raises:
        concurrent.futures.process.BrokenProcessPool: it died, most likely for want of memory.
    """
    methods = multiprocessing.get_all_start_methods()
    # Forked from a server that has imported PyTorch and nnU-Net and done nothing: a tenth of a second instead of five.
    # What keeps a process id, as our own package does, is imported in the new process.
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    if "forkserver" in methods:
        context.set_forkserver_preload(["torch", "numba", "nnunetv2.inference.predict_from_raw_data"])
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


def with_own_peak(function: Callable[..., Result], *arguments: Any, device: str) -> Result:
    """Call an importable function where its peak of memory is its own: on a CPU, in a new process.

    PyTorch counts a GPU's memory exactly and sets the peak back on request, so there the present process will do.

    Raises:
        concurrent.futures.process.BrokenProcessPool: the process died, most likely for want of memory.
    """
    return function(*arguments) if device == "cuda" else in_fresh_process(function, *arguments)


def extra_memory(run: Callable[[], list[Tensor]], device: str = "cpu") -> tuple[int | None, float]:
    """Peak bytes that a run needs beyond what was there before and what it returns, None where nothing tells; seconds.

    On a CPU it is the process's resident memory, of which only Linux keeps a peak that can be set back.

    Args:
        run: returns the tensors that do not count.
        device: torch device type.
    """
    before = _forget_peak(device)
    results: list[Tensor] = []
    seconds = timed(lambda: results.extend(run()), device)
    if before is None:
        return None, seconds
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else _resident("VmHWM")
    return max(0, peak - before - sum(tensor.nbytes for tensor in results)), seconds


def _forget_peak(device: str) -> int | None:
    """Set the peak of memory back; returns the bytes in use now."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    if not Path("/proc/self/clear_refs").exists():
        return None
    _return_free_memory()
    Path("/proc/self/clear_refs").write_text("5")
    return _resident("VmRSS")


def available_memory() -> int | None:
    """Bytes that processes can still have without swapping; None where nothing tells."""
    path = Path("/proc/meminfo")
    return _kibibytes(path, "MemAvailable") if path.exists() else None


def _return_free_memory() -> None:
    """Have glibc hand freed memory back, which would otherwise count as used before and hide what a run needs."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _resident(field: str) -> int:
    """Bytes that Linux reports for this process: resident now (VmRSS) or at the peak (VmHWM)."""
    return _kibibytes(Path("/proc/self/status"), field)


def _kibibytes(path: Path, field: str) -> int:
    lines = path.read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def keep_freed_memory() -> None:
    """Let glibc keep freed memory, instead of asking the system for it again, page by page, at every pass.

    Where a tensor ends up at the end of the heap decides otherwise which of two speeds a process shows.
    """
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        for option in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD):
            mallopt(option, 2**30)
        mallopt(_M_MMAP_MAX, 0)
