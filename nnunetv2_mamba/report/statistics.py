"""How sure a number is: intervals from drawing the cases again; and a signed-rank test.

The intervals say how the scores of these very predictions would vary over other cases of the kind. They say nothing of
how a second training of the same network would do, and of few cases they are too narrow: they describe, and tests
decide.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from nnunetv2_mamba.evaluation.metrics import ratio

DRAWS = 2000
LEVEL = 0.95
MIN_CASES = 5
"""With fewer cases there are too few different draws for an interval that means something."""

Pooled = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]
"""Metrics of all cases together from their summed counts, such as `nnunetv2_mamba.evaluation.metrics.pooled`."""


@dataclass(frozen=True)
class Estimate:
    """A number with its interval.

    Attributes:
        value: NaN where it is not defined.
        low: lower end of the interval; NaN where there is none.
        high: upper end.
        cases: how many cases it rests on.
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
    """Draws of as many cases, or patients, as there are, with replacement; the same for everything that is compared.

    Args:
        groups: what is drawn together with a case, such as its patient: one name for each of at least one case. The
            case's own name draws cases.
        draws: how often.
        seed: of the draws.
    """

    def __init__(self, groups: Sequence[str], draws: int = DRAWS, seed: int = 0) -> None:
        names, group = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
        self._group = group
        drawn = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), draws)
        # The cases as they are come first: they give the value, the others its interval.
        self.weights = np.concatenate([np.ones((1, len(names))), drawn])[:, group].astype(float)

    def pooled(self, counts: Mapping[str, np.ndarray], pooled: Pooled) -> dict[str, np.ndarray]:
        """Metrics of all cases together, for the cases as they are and for each draw.

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
        """Mean (1 + draws,) over those cases of each draw that have a value (cases,); NaN where none has."""
        defined = np.isfinite(values)
        return ratio(self.weights @ np.where(defined, values, 0), self.weights @ defined)

    def estimate(self, drawn: np.ndarray, bears: np.ndarray) -> Estimate:
        """The value with the interval that 95 % of the draws are in.

        Args:
            drawn: (1 + draws,), as the methods above give it.
            bears: which cases say something about it (cases,), bool.
        """
        cases, independent = int(bears.sum()), len(np.unique(self._group[bears]))
        value, finite = float(drawn[0]), drawn[1:][np.isfinite(drawn[1:])]
        if independent < MIN_CASES or not math.isfinite(value) or not len(finite):
            return Estimate(value, math.nan, math.nan, cases)
        low, high = np.quantile(finite, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
        if math.isclose(low, high, rel_tol=1e-9, abs_tol=1e-12):
            # All cases are alike, and drawing them again says nothing of what other cases would be like.
            return Estimate(value, math.nan, math.nan, cases)
        return Estimate(value, low, high, cases)


@dataclass(frozen=True)
class SignedRank:
    """Result of Wilcoxon's signed-rank test on pairs of values.

    Attributes:
        p: two-sided; NaN where no pair differs.
        pairs: how many there are, of cases or of patients.
        first_better: in how many of them the first is greater.
        second_better: in how many the second is.
    """

    p: float
    pairs: int
    first_better: int
    second_better: int


def signed_rank(first: np.ndarray, second: np.ndarray, groups: Sequence[str]) -> SignedRank:
    """Wilcoxon's signed-rank test of paired values (cases,); cases where one is NaN are left out.

    Args:
        first: values of the one.
        second: values of the other.
        groups: what a case belongs to, such as its patient (cases,): one pair is the means of one group's cases.
    """
    both = np.isfinite(first) & np.isfinite(second)
    names, group = np.unique(np.asarray(groups, dtype=str)[both], return_inverse=True)
    cases = np.bincount(group, minlength=len(names))
    one, other = (np.bincount(group, values[both], len(names)) / cases for values in (first, second))
    difference = one - other
    wins = int((difference > 0).sum()), int((difference < 0).sum())
    # Pairs without a difference are dropped, as Wilcoxon did; SciPy has no answer where none is left.
    p = float(stats.wilcoxon(difference[difference != 0]).pvalue) if any(wins) else math.nan
    return SignedRank(p, len(difference), *wins)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusts p values for their number (Holm 1979), NaN where there was no test."""
    adjusted = [math.nan] * len(p_values)
    order = sorted((index for index, p in enumerate(p_values) if not math.isnan(p)), key=lambda index: p_values[index])
    greatest = 0.0
    for rank, index in enumerate(order):
        greatest = max(greatest, min(1.0, (len(order) - rank) * p_values[index]))
        adjusted[index] = greatest
    return adjusted
