"""How a function becomes a kernel: compiled once for the machine, which is said, kept on disk, run beside others."""

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock
from numba import njit
from numba.core import event

logger = logging.getLogger(__name__)

LOCK_SECONDS = 60
"""How long a process waits for another one that keeps its machine code."""

_kernels: list[Callable] = []


class _Announcement(event.Listener):
    """Says that a kernel is compiled, since nothing else happens meanwhile."""

    def on_start(self, event: event.Event) -> None:
        """A function is about to be compiled; those found on disk are not."""
        if event.data["dispatcher"] in _kernels:
            logger.warning("compiling for this CPU, once: %s", event.data["dispatcher"].__name__)

    def on_end(self, event: event.Event) -> None:
        """A function has been compiled."""


event.register("numba:compile", _Announcement())


def kernel(function: Callable) -> Callable:
    """Compile a function at its first call, keep the machine code on disk, and let other threads run beside it."""
    options = {"nogil": True, "error_model": "numpy"}
    try:
        compiled = njit(cache=True, **options)(function)
    except RuntimeError as error:  # a container without a home, its packages not writable
        logger.warning("%s; it is compiled again in every process, set NUMBA_CACHE_DIR to keep it", error)
        compiled = njit(**options)(function)
    else:
        _tell_sources_apart(compiled)
        _keep_safely(compiled)
    _kernels.append(compiled)
    return compiled


def _tell_sources_apart(compiled: Any) -> None:
    """Have machine code on disk found by the source text that it was made of, as it is now.

    numba looks at the file of the kernel itself and not at those of the functions that were compiled into it.
    """
    here, folder = Path(__file__).parent, Path(compiled.py_func.__code__.co_filename).parent
    sources = [*sorted(here.glob("*.py")), *sorted(folder.glob("numba_*.py")), *folder.glob("contract.py")]
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    index_key = compiled._cache._index_key
    compiled._cache._index_key = lambda *arguments: (*index_key(*arguments), digest)


def _keep_safely(compiled: Any) -> None:
    """Machine code is kept by one process at a time, and still runs where it cannot be kept.

    Of two that keep different code at once, as folds that are started together do, numba would give both the same name.
    """
    save = compiled._cache.save_overload
    lock = Path(compiled.stats.cache_path) / f"{compiled.__name__}.lock"

    def save_or_say(*arguments: Any) -> None:
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(lock, LOCK_SECONDS):
                save(*arguments)
        except (OSError, NotImplementedError) as error:  # a file system may know no locks
            logger.warning(
                "%s cannot be kept on disk as machine code (%s): it is compiled again next time",
                compiled.__name__,
                error,
            )

    compiled._cache.save_overload = save_or_say
