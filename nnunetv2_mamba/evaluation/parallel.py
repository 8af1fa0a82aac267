"""The same work for many cases, in this process or in several."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import get_context
from typing import TypeVar

from nnunetv2_mamba.evaluation.errors import EvaluationError

Task = TypeVar("Task")
Result = TypeVar("Result")

INLINE_SECONDS = 2.0
"""Processes are started after this time: each has to import what the main module imports."""


def default_processes() -> int:
    """Number of cores that this process may use, at most 8."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(cores or 1, 8)


def for_each(work: Callable[[Task], Result], tasks: Sequence[Task], processes: int) -> Iterator[Result]:
    """Results in the order of the tasks; only as many are in memory as keep the processes busy.

    Args:
        work: function of one task; the function, its tasks and its results can be pickled.
        tasks: one argument for each call.
        processes: largest number of processes.

    Raises:
        EvaluationError: a process was killed.
    """
    started, done = time.perf_counter(), 0
    for task in tasks:
        if time.perf_counter() - started > INLINE_SECONDS and min(processes, len(tasks) - done) > 1:
            break
        yield work(task)
        done += 1
    if done < len(tasks):
        yield from _in_processes(work, tasks[done:], min(processes, len(tasks) - done))


def _in_processes(work: Callable[[Task], Result], tasks: Sequence[Task], processes: int) -> Iterator[Result]:
    # A forked process could inherit locks that threads of this process hold.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        waiting = iter(tasks)
        running: list[Future[Result]] = [pool.submit(work, task) for task in islice(waiting, 2 * processes)]
        try:
            while running:
                yield running.pop(0).result()
                running += [pool.submit(work, task) for task in islice(waiting, 1)]
        except BrokenProcessPool as error:
            raise EvaluationError(
                f"a process was killed, perhaps for want of memory: use fewer processes than {processes} with -np. Or "
                "it could not start: a script of your own needs `if __name__ == '__main__':`."
            ) from error
        finally:
            for future in running:
                future.cancel()
