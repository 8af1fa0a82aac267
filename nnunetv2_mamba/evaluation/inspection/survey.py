"""All cases of a dataset, one after the other or on several processes."""

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial

from tqdm import tqdm

from nnunetv2_mamba.evaluation.errors import EvaluationError
from nnunetv2_mamba.evaluation.inspection.case import CaseFiles, InspectedCase, Job, inspect_case

_INLINE_SECONDS = 3.0


def survey(job: Job, cases: Sequence[CaseFiles], processes: int = 1, progress: bool = False) -> list[InspectedCase]:
    """Measure every case.

    Args:
        job: what they have in common.
        cases: where they are.
        processes: how many may work side by side. They are started only when the first seconds have not been enough.
        progress: whether to show a bar on stderr.

    Returns:
        The cases in the given order; a few numbers for each lesion, so that memory does not grow with the images.

    Raises:
        OSError: a file cannot be read.
        EvaluationError: a preprocessed case was made from another image, or a process was killed.
    """
    return list(tqdm(_measured(job, cases, processes), "inspecting", len(cases), disable=not progress, leave=False))


def _measured(job: Job, cases: Sequence[CaseFiles], processes: int) -> Iterator[InspectedCase]:
    started, done = time.perf_counter(), 0
    for files in cases:
        if processes > 1 and time.perf_counter() - started > _INLINE_SECONDS and len(cases) - done > processes:
            break
        yield inspect_case(job, files)
        done += 1
    rest = cases[done:]
    if not rest:
        return
    # Not forked: the command has threads by now, of which a forked process would have the locks and not the threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        try:
            yield from pool.map(partial(inspect_case, job), rest)
        except BrokenProcessPool as error:
            raise EvaluationError(
                f"a process was killed, perhaps for want of memory: take fewer with -np than {processes}."
            ) from error
