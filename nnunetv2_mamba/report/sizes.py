"""How many lesions are found, by their size."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnunetv2_mamba.evaluation.metrics import ratio
from nnunetv2_mamba.report.source import Lesions
from nnunetv2_mamba.report.statistics import Estimate, Resampling

LESIONS_PER_BIN = 15
MAX_BINS = 8


@dataclass(frozen=True)
class SizeBin:
    """Lesions of similar size.

    Attributes:
        low: smallest size of a lesion in it.
        high: largest size.
        lesions: how many there are.
        found: how many of them were found.
        recall: with its interval by cases.
    """

    low: float
    high: float
    lesions: int
    found: int
    recall: Estimate

    @property
    def middle(self) -> float:
        """Geometric mean of the ends: the middle on a logarithmic axis."""
        return math.sqrt(self.low * self.high)


def sizes_of_each_lesion(models: Sequence[tuple[Sequence[str], Lesions]]) -> np.ndarray:
    """Sizes of all lesions, each once although several models were evaluated on its case.

    Args:
        models: names of all cases and the lesions in them, of each model.
    """
    seen: set[str] = set()
    sizes = []
    for names, lesions in models:
        sizes.append(lesions.sizes[[case not in seen for case in lesions.cases]])
        seen.update(names)
    return np.concatenate(sizes)


def bounds_for(sizes: np.ndarray) -> np.ndarray:
    """Largest size in each bin (bins,), so that bins hold about as many lesions each.

    Sizes are often equal (lesions of one voxel), and equal sizes stay together.

    Args:
        sizes: of the lesions (lesions,).
    """
    target = max(LESIONS_PER_BIN, len(sizes) / MAX_BINS)
    bounds, held = [], 0
    values, numbers = np.unique(sizes, return_counts=True)
    for value, number in zip(values.tolist(), numbers.tolist(), strict=True):
        held += number
        if held >= target:
            bounds.append(value)
            held = 0
    if held and (held >= target / 2 or not bounds):
        bounds.append(float(values[-1]))
    elif held:
        # Too few for a bin of their own.
        bounds[-1] = float(values[-1])
    return np.array(bounds)


def recall_by_size(lesions: Lesions, bounds: np.ndarray, cases: Sequence[str], resampling: Resampling) -> list[SizeBin]:
    """Recall of the lesions of each bin; bins without a lesion are left out.

    Args:
        lesions: of one model.
        bounds: of `bounds_for`.
        cases: names of all cases, in the order of the resampling.
        resampling: of these cases.
    """
    bin_of = np.searchsorted(bounds, lesions.sizes)
    bins = []
    for index in np.unique(bin_of).tolist():
        inside = bin_of == index
        sizes, found = lesions.sizes[inside], int(lesions.found[inside].sum())
        recall = recall_of(lesions, inside, cases, resampling)
        bins.append(SizeBin(float(sizes.min()), float(sizes.max()), len(sizes), found, recall))
    return bins


def recall_of(lesions: Lesions, inside: np.ndarray, cases: Sequence[str], resampling: Resampling) -> Estimate:
    """Recall of some of the lesions.

    Args:
        lesions: of one model.
        inside: which of them (lesions,), bool.
        cases: names of all cases, in the order of the resampling.
        resampling: of these cases.
    """
    place = {case: index for index, case in enumerate(cases)}
    case_of = np.array([place[case] for case in lesions.cases[inside]], dtype=int)
    every = np.bincount(case_of, minlength=len(cases))
    found = np.bincount(case_of, weights=lesions.found[inside], minlength=len(cases))
    sums = resampling.sums({"every": every, "found": found})
    return resampling.estimate(ratio(sums["found"], sums["every"]), every > 0)
