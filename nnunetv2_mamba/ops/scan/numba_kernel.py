"""How a function becomes a kernel: compiled once for the machine, which is said, kept on disk, run beside others."""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from numba import njit
from numba.core import event

logger = logging.getLogger(__name__)

_kernels: list[Callable] = []


class _Announcement(event.Listener):
    """Says once in a process that it is compiling, since nothing else happens meanwhile."""

    def __init__(self) -> None:
        self.made = False

    def on_start(self, event: event.Event) -> None:
        """A function is about to be compiled; those found on disk are not."""
        if not self.made and event.data["dispatcher"] in _kernels:
            self.made = True
            logger.warning("compiling the selective scan for this CPU, once: it takes some ten seconds")

    def on_end(self, event: event.Event) -> None:
        """A function has been compiled."""


event.register("numba:compile", _Announcement())


def kernel(function: Callable) -> Callable:
    """Compile a function at its first call, keep the machine code on disk, and let other threads run beside it."""
    options = {"nogil": True, "error_model": "numpy"}
    try:
        compiled = njit(cache=True, **options)(function)
    except RuntimeError as error:  # a container without a home, its packages not writable
        logger.warning("%s; it is compiled anew in every process, set NUMBA_CACHE_DIR to keep it", error)
        compiled = njit(**options)(function)
    _kernels.append(compiled)
    return compiled


def discard_stale_code(kernels: Iterable, sources: Iterable[str | None]) -> None:
    """Delete machine code on disk that is older than a file it was compiled from.

    numba looks at the file of the kernel itself and not at those of the functions that were compiled into it.

    Args:
        kernels: what `kernel` returned.
        sources: the other files.
    """
    changed = max(Path(source).stat().st_mtime_ns for source in sources if source)
    for compiled in kernels:
        if compiled.stats.cache_path is None:
            continue
        for index in Path(compiled.stats.cache_path).glob(f"*.{compiled.__name__}-*.nbi"):
            if index.stat().st_mtime_ns < changed:
                index.unlink(missing_ok=True)
