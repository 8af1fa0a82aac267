"""Measures all cases of a dataset, one after the other or in several processes."""

from collections.abc import Sequence
from functools import partial

from tqdm import tqdm

from nnunetv2_mamba.evaluation.parallel import for_each
from nnunetv2_mamba.inspection.case import InspectedCase, InspectionFiles, Job, inspect_case


def survey(
    job: Job, cases: Sequence[InspectionFiles], processes: int = 1, progress: bool = False
) -> list[InspectedCase]:
    """Measure every case.

    Args:
        job: what they have in common.
        cases: their files.
        processes: number of processes; a few small cases are always measured in this process.
        progress: whether to show a bar on stderr.

    Returns:
        The cases in the given order; a few numbers for each lesion, so that memory does not grow with the images.

    Raises:
        OSError: a file cannot be read.
        EvaluationError: a preprocessed case was made from another image, or a process was killed.
    """
    measured = for_each(partial(inspect_case, job), cases, processes)
    return list(tqdm(measured, "inspecting", len(cases), disable=not progress, leave=False))
