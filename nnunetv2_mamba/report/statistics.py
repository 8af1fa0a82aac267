"""Bootstrap intervals over cases, Wilcoxon's signed-rank test and Holm's correction.

The intervals say how the scores of the same predictions vary over other cases. They do not say how a second training of
the same network would score. With few cases they are too narrow; whether models differ is decided by tests.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from nnunetv2_mamba.evaluation.metric import ratio

DRAWS = 2000
LEVEL = 0.95
MIN_CASES = 5
"""With fewer cases there are too few different draws for an interval."""

Pooled = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]
"""Metrics of all cases together from their summed counts, such as `nnunetv2_mamba.evaluation.metrics.pooled`."""


@dataclass(frozen=True)
class Estimate:
    """A number with its interval.

    Attributes:
        value: NaN where it is not defined.
        low: lower end of the interval; NaN where there is none.
        high: upper end.
        cases: number of cases that have a value.
    """

    value: float
    low: float
    high: float
    cases: int

    @property
    def has_interval(self) -> bool:
        """Whether there were enough cases for an interval."""
        return math.isfinite(self.low)


class Resampling:
    """Cluster bootstrap: draws of cases, or of patients with all their cases, with replacement.

    Equal groups give equal draws, so that everything that is compared has the same draws.

    Args:
        groups: name of the group of each case; a group is drawn as a whole. Names of patients draw patients, names of
            cases draw cases.
        draws: number of draws.
        seed: of the draws.

    Attributes:
        number: of groups.
        weights: how often each case is in the original set, then in each draw (1 + draws, cases).
    """

    def __init__(self, groups: Sequence[str], draws: int = DRAWS, seed: int = 0) -> None:
        names, group = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
        self._group, self.number = group, len(names)
        drawn = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), draws)
        # The original set comes first: it gives the value, the draws give its interval.
        self.weights = np.concatenate([np.ones((1, len(names))), drawn])[:, group].astype(float)

    def pooled(self, counts: Mapping[str, np.ndarray], pooled: Pooled) -> dict[str, np.ndarray]:
        """Metrics of all cases together, for the original set and for each draw.

        Args:
            counts: numbers that add up over cases, each (cases,).
            pooled: metrics from summed counts.

        Returns:
            Values of each metric (1 + draws,), NaN where it is not defined.
        """
        return {name: np.asarray(values) for name, values in pooled(self.sums(counts)).items()}

    def sums(self, counts: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Sums (1 + draws,) over the cases of each draw."""
        return {name: self.weights @ np.nan_to_num(values) for name, values in counts.items()}

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Mean (1 + draws,) over the cases of each draw that have a value (cases,); NaN if none has."""
        defined = np.isfinite(values)
        return ratio(self.weights @ np.where(defined, values, 0), self.weights @ defined)

    def estimate(self, drawn: np.ndarray, has_value: np.ndarray) -> Estimate:
        """The value with the interval that contains 95 % of the draws.

        Args:
            drawn: (1 + draws,), as the methods above return it.
            has_value: which cases have a value (cases,), bool.
        """
        cases, independent = int(has_value.sum()), len(np.unique(self._group[has_value]))
        value, (low, high) = float(drawn[0]), interval(drawn)
        # If all cases are alike, the draws say nothing about other cases.
        alike = math.isclose(low, high, rel_tol=1e-9, abs_tol=1e-12)
        if independent < MIN_CASES or not math.isfinite(value) or alike:
            low = high = math.nan
        return Estimate(value=value, low=low, high=high, cases=cases)


def interval(drawn: np.ndarray) -> tuple[float, float]:
    """Percentile interval of the draws that are defined; NaN if none is.

    Args:
        drawn: (1 + draws,), the value of the original set first.
    """
    finite = drawn[1:][np.isfinite(drawn[1:])]
    if not len(finite):
        return math.nan, math.nan
    low, high = np.quantile(finite, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    return low, high


@dataclass(frozen=True)
class SignedRank:
    """Result of Wilcoxon's signed-rank test on pairs of values.

    Attributes:
        p: two-sided; NaN where no pair differs.
        pairs: number of pairs of cases or patients.
        first_better: pairs in which the first value is greater.
        second_better: pairs in which the second value is greater.
    """

    p: float
    pairs: int
    first_better: int
    second_better: int


def signed_rank(first: np.ndarray, second: np.ndarray, groups: Sequence[str]) -> SignedRank:
    """Wilcoxon's signed-rank test of paired values (cases,); cases where one is NaN are left out.

    Args:
        first: (cases,).
        second: (cases,).
        groups: group of each case, such as its patient; the means of the cases of a group form one pair.
    """
    both = np.isfinite(first) & np.isfinite(second)
    names, group = np.unique(np.asarray(groups, dtype=str)[both], return_inverse=True)
    cases = np.bincount(group, minlength=len(names))
    one, other = (np.bincount(group, values[both], len(names)) / cases for values in (first, second))
    difference = one - other
    wins = int((difference > 0).sum()), int((difference < 0).sum())
    # Pairs without a difference are dropped, as Wilcoxon did; SciPy needs at least one pair.
    p = float(stats.wilcoxon(difference[difference != 0]).pvalue) if any(wins) else math.nan
    return SignedRank(p=p, pairs=len(difference), first_better=wins[0], second_better=wins[1])


def holm(p_values: Sequence[float]) -> list[float]:
    """P values adjusted for their number (Holm 1979), NaN where there was no test."""
    adjusted = [math.nan] * len(p_values)
    order = sorted((index for index, p in enumerate(p_values) if not math.isnan(p)), key=lambda index: p_values[index])
    greatest = 0.0
    for rank, index in enumerate(order):
        greatest = max(greatest, min(1.0, (len(order) - rank) * p_values[index]))
        adjusted[index] = greatest
    return adjusted
