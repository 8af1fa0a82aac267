"""Lesion recall by size of the lesions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnunetv2_mamba.evaluation.metric import ratio
from nnunetv2_mamba.report.reported_model import Lesions
from nnunetv2_mamba.report.statistics import Estimate, Resampling

LESIONS_PER_BIN = 15
MAX_BINS = 8


@dataclass(frozen=True)
class SizeBin:
    """Lesions of similar size.

    Attributes:
        low: smallest size of a lesion in it.
        high: largest size.
        lesions: number of lesions.
        recall: with its interval over cases.
    """

    low: float
    high: float
    lesions: int
    recall: Estimate

    @property
    def middle(self) -> float:
        """Geometric mean of the ends: the middle on a logarithmic axis."""
        return math.sqrt(self.low * self.high)


def sizes_of_each_lesion(models: Sequence[tuple[Sequence[str], Lesions]]) -> np.ndarray:
    """Sizes of all lesions; a lesion counts once if several models were evaluated on its case.

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
    """Largest size in each bin (bins,), where bins contain about equally many lesions.

    Equal sizes are common (lesions of one voxel) and stay in one bin.

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
        # The rest is too small for a bin of its own.
        bounds[-1] = float(values[-1])
    return np.array(bounds)


def recall_by_size(
    lesions: Lesions, bounds: np.ndarray, *, cases: Sequence[str], resampling: Resampling
) -> list[SizeBin]:
    """Recall in each bin; bins without a lesion are left out.

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
        sizes = lesions.sizes[inside]
        recall = recall_of(lesions, inside, cases=cases, resampling=resampling)
        bins.append(SizeBin(low=float(sizes.min()), high=float(sizes.max()), lesions=len(sizes), recall=recall))
    return bins


def recall_of(lesions: Lesions, inside: np.ndarray, *, cases: Sequence[str], resampling: Resampling) -> Estimate:
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
    true_positive = np.bincount(case_of, weights=lesions.true_positive[inside], minlength=len(cases))
    sums = resampling.sums({"every": every, "true_positive": true_positive})
    return resampling.estimate(ratio(sums["true_positive"], sums["every"]), every > 0)
