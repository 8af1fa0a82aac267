"""Runs one function in several threads at once, in PyTorch's own OpenMP threads where that is possible.

After each of its operations PyTorch's threads spin for a while, ready for the next; threads of anybody else then share
their cores with them. Measured on two cores, a scan right behind a PyTorch operation took up to twice as long so.
"""

import ctypes
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import torch

_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_PROCESS = os.getpid()
_pool: tuple[int, int, ThreadPoolExecutor] | None = None


def work_off(share: Callable[..., None], shares: Iterable[tuple]) -> None:
    """Call a function once for each share of some work, with torch's number of threads.

    Args:
        share: releases the GIL for whatever takes long.
        shares: its arguments.
    """
    remaining = iter(shares)  # advancing a list's iterator is atomic, so threads can draw from the same one

    def work() -> None:
        for arguments in remaining:
            share(*arguments)

    run_in_threads(work)


def run_in_threads(work: Callable[[], None]) -> None:
    """Call a function in torch's number of threads at once, this one among them, and wait for all.

    Args:
        work: releases the GIL for whatever takes long.

    Raises:
        Exception: the first that was raised in any thread.
    """
    threads = torch.get_num_threads()
    failures: list[BaseException] = []

    def guarded(_: object = None) -> None:
        # Nothing may leave a callback of C code; it is raised again below.
        try:
            work()
        except BaseException as failure:
            failures.append(failure)

    # OpenMP's threads do not survive a fork; PyTorch's own operations hang in such a child, these kernels need not.
    parallel = _gomp_parallel() if threads > 1 and os.getpid() == _PROCESS else None
    if threads == 1:
        guarded()
    elif parallel is not None:
        parallel(_CALLBACK(guarded), None, threads, 0)
    else:
        helpers = [_executor(threads).submit(guarded) for _ in range(threads - 1)]
        guarded()
        for helper in helpers:
            helper.result()
    if failures:
        raise failures[0]


@lru_cache(maxsize=1)
def _gomp_parallel() -> Callable[..., None] | None:
    """GNU OpenMP's entry point for a parallel region in the library that PyTorch has loaded, or None."""
    maps = Path("/proc/self/maps")
    if not maps.exists():
        return None
    loaded = {line.split(maxsplit=5)[-1] for line in maps.read_text().splitlines() if "libgomp" in line}
    # Other packages bring an OpenMP of their own, scikit-learn for one, which nnU-Net imports.
    package = Path(torch.__file__).parent
    folders = {package / "lib", package.with_name("torch.libs")}
    bundled = [path for path in loaded if Path(path).parent in folders]
    if len(loaded) != 1 and len(bundled) != 1:
        return None
    function = ctypes.CDLL(next(iter(bundled or loaded))).GOMP_parallel
    function.argtypes = [_CALLBACK, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    function.restype = None
    return function


def _executor(threads: int) -> ThreadPoolExecutor:
    global _pool
    if _pool is None or _pool[:2] != (os.getpid(), threads):  # the threads of a pool do not survive a fork either
        _pool = (os.getpid(), threads, ThreadPoolExecutor(threads - 1, thread_name_prefix="nnunetv2_mamba"))
    return _pool[2]
