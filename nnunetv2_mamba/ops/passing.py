"""Which failures may pass, and when what failed so is tried again."""

import time
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass

import torch

PAUSES = (1.0, 10.0, 100.0, 1000.0)
"""Seconds from a failure to the next try: after the first failure, the second, and so on; the last one repeats."""

MORE_MEMORY = "free memory (nvidia-smi shows which processes use that of the GPU) and try again"
WORKING_DISK = (
    "see that the folders of compiled kernels (TRITON_CACHE_DIR, NUMBA_CACHE_DIR) can be written and their disk has "
    "room, and try again"
)

# What PyTorch's allocator for the CPU and the libraries of NVIDIA write; they have no exception of their own.
_OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")
# What the loader of shared libraries writes. A library that is missing or broken stays so.
_LOADER = (".so", ".dylib", "dlopen")


@dataclass(frozen=True)
class Verdict:
    """Whether a backend can be used on a device.

    Attributes:
        reason: why it cannot, None where it can.
        error: largest relative error of its self-check, None where it was not checked.
        remedy: what to do about a failure that may pass; None where there is none, or where it lasts.
    """

    reason: str | None = None
    error: float | None = None
    remedy: str | None = None


def remedy_if_passing(error: BaseException) -> str | None:
    """What to do about a failure that may pass; None for one that lasts.

    A lack of memory may pass, and so may an `OSError`: a full disk, a stale handle of a network disk, a file that
    another process is writing. One of the loader of shared libraries lasts.

    Args:
        error: the failure; the exceptions that caused it, or in whose handling it was raised, count too.
    """
    for each in _with_causes(error):
        if is_out_of_memory(each):
            return MORE_MEMORY
        # The loader's errors have no number on Linux and macOS; those of the file system have one.
        if isinstance(each, OSError) and not (each.errno is None and any(word in str(each) for word in _LOADER)):
            return WORKING_DISK
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory could not be allocated, on the CPU or on a GPU."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(phrase in str(error) for phrase in _OUT_OF_MEMORY)


class Verdicts:
    """Verdicts that are slow to reach: each is kept, and one that may pass is reached again after a pause that grows.

    Where gradients are recorded, none is reached again: a block of which the backward pass repeats the forward pass
    (activation checkpointing) must get the same backend both times. The next call without gradients, such as the
    validation after an epoch, tries again.

    Args:
        clock: seconds since any moment.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[Hashable, _Known] = {}

    def get(self, key: Hashable, reach: Callable[[], Verdict]) -> Verdict:
        """The verdict on a key.

        Args:
            key: what the verdict is about.
            reach: called where there is no verdict yet, or it is time to try again.
        """
        known = self._known.get(key)
        if known is None or self._is_due(known):
            tries = 0 if known is None else known.tries
            verdict = reach()
            known = _Known(verdict, tries + 1, self._clock() + PAUSES[min(tries, len(PAUSES) - 1)])
            self._known[key] = known
        return known.verdict

    def _is_due(self, known: "_Known") -> bool:
        return known.verdict.remedy is not None and not torch.is_grad_enabled() and self._clock() >= known.due


@dataclass(frozen=True)
class _Known:
    verdict: Verdict
    tries: int
    due: float


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    """An exception, and those that it came from."""
    seen: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in seen:
        seen.append(following)
        yield following
        context = None if following.__suppress_context__ else following.__context__
        following = following.__cause__ or context
