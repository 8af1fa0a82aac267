"""The metrics of a model with their intervals, and how far two models differ on the same cases."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from nnunetv2_mamba.report.permutation import Exchanges
from nnunetv2_mamba.report.source import Cases, Lesions
from nnunetv2_mamba.report.statistics import Estimate, Pooled, Resampling, SignedRank, holm, signed_rank

Over = Literal["pooled", "mean"]
"""From the counts of all cases together, or the mean of the cases that have a value."""

Metric = tuple[str, Over]

PAIRED: tuple[Metric, ...] = (
    ("lesion_recall", "pooled"),
    ("lesion_f1", "pooled"),
    ("fp_per_case", "pooled"),
    ("lesion_dice", "pooled"),
    ("DSC", "mean"),
)

SIGNIFICANT = 0.05
"""Adjusted p below which a difference is more than chance."""


class Scores:
    """Every metric of some cases of one model.

    Args:
        cases: what was counted and measured.
        resampling: of these cases.
        pooled: metrics from summed counts.
    """

    def __init__(self, cases: Cases, resampling: Resampling, pooled: Pooled) -> None:
        self.cases, self._resampling = cases, resampling
        self._pooled = resampling.pooled(cases.counts, pooled)

    def drawn(self, metric: str, over: Over) -> np.ndarray:
        """Value for the cases as they are and for each draw (1 + draws,); NaN throughout where there is no such."""
        if over == "mean":
            return self._resampling.mean(self.cases.metric(metric))
        return self._pooled.get(metric, np.full(len(self._resampling.weights), np.nan))

    def estimate(self, metric: str, over: Over) -> Estimate:
        """Value and interval."""
        return self._resampling.estimate(self.drawn(metric, over), self.bears(metric))

    def bears(self, metric: str) -> np.ndarray:
        """Which cases say something about a metric (cases,): the ones that have a value of their own."""
        return np.isfinite(self.cases.metric(metric))


@dataclass(frozen=True)
class Result:
    """What one model did on one target.

    Attributes:
        place: of the model among the models.
        name: of the model.
        entry: what the summary says of the target.
        scores: of all its cases.
        resampling: of these cases.
        lesions: that are found or missed.
    """

    place: int
    name: str
    entry: Mapping[str, Any]
    scores: Scores
    resampling: Resampling
    lesions: Lesions

    @property
    def cases(self) -> Cases:
        """What was counted and measured in each case."""
        return self.scores.cases

    def total(self, count: str) -> float:
        """Sum of a count over the cases."""
        return float(np.nansum(self.cases.counts.get(count, np.zeros(0))))


def few_find_many(right: Any, found: Any) -> Any:
    """Whether a component finds more than two lesions on average, so that recall and inventions mean little.

    Args:
        right: components that match a lesion; a number or an array.
        found: lesions that match a component; likewise.
    """
    return right < found / 2


@dataclass(frozen=True)
class Difference:
    """How far one model is from another on the same cases.

    Attributes:
        values: of the first model and of the second.
        estimate: first minus second, with its interval.
        p: of the paired permutation test.
        adjusted: the same for the number of tests of this metric, see `adjust`.
        enough: whether there are cases enough for a difference to be more than chance.
    """

    values: tuple[float, float]
    estimate: Estimate
    p: float
    adjusted: float
    enough: bool

    @property
    def is_more_than_chance(self) -> bool:
        """Whether chance alone would rarely give such a difference."""
        return self.adjusted < SIGNIFICANT


@dataclass(frozen=True)
class Pair:
    """Two models on the same cases.

    Attributes:
        first: place of the one among the models.
        second: place of the other.
        cases: names of the cases that both have.
        dice: Dice of each case by the first, and by the second (2, cases).
        differences: by metric.
        test: of Dice by case, or by patient.
        adjusted_test: its p for the number of such tests.
        least_p: the smallest that the permutation test can give.
    """

    first: int
    second: int
    cases: tuple[str, ...]
    dice: np.ndarray
    differences: Mapping[Metric, Difference]
    test: SignedRank
    adjusted_test: float
    least_p: float


def pair(
    places: tuple[int, int],
    models: Sequence[Cases],
    names: Sequence[str],
    groups: Sequence[str],
    pooled: Pooled,
    metrics: Sequence[Metric] = PAIRED,
) -> Pair:
    """Compare two models on the cases that both have.

    Args:
        places: of the two among the models.
        models: what was counted in the cases of each model.
        names: of the cases that both have.
        groups: what is drawn, and exchanged, together with each of these cases.
        pooled: metrics from summed counts.
        metrics: whose difference is wanted.
    """
    resampling, exchanges = Resampling(groups), Exchanges(groups)
    first, second = (Scores(models[place].of(names), resampling, pooled) for place in places)
    dice = np.stack([scores.cases.metric("DSC") for scores in (first, second)])
    p_of_pooled = exchanges.p_of_pooled(first.cases.counts, second.cases.counts, pooled)
    differences = {}
    for metric, over in metrics:
        bears = first.bears(metric) & second.bears(metric)
        if over == "mean":
            # Both means over the same cases, or the difference would be one of cases.
            both = [np.where(bears, scores.cases.metric(metric), np.nan) for scores in (first, second)]
            p = exchanges.p_of_mean(both[0] - both[1])
            drawn = [resampling.mean(values) for values in both]
        else:
            bears = first.bears(metric)
            p = p_of_pooled.get(metric, np.nan)
            drawn = [scores.drawn(metric, over) for scores in (first, second)]
        estimate = resampling.estimate(drawn[0] - drawn[1], bears)
        values = float(drawn[0][0]), float(drawn[1][0])
        differences[metric, over] = Difference(values, estimate, p, p, exchanges.least_p < SIGNIFICANT)
    test = signed_rank(dice[0], dice[1], groups)
    return Pair(*places, tuple(names), dice, differences, test, test.p, exchanges.least_p)


def adjust(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs with p values adjusted for their number by Holm's method, each metric and the signed-rank test apart.

    Args:
        pairs: all that a reader sees together: of all models, on all targets.
    """
    metrics = list(dict.fromkeys(metric for pair in pairs for metric in pair.differences))
    adjusted = {metric: holm([pair.differences[metric].p for pair in pairs]) for metric in metrics}
    tests = holm([pair.test.p for pair in pairs])
    number = {metric: sum(math.isfinite(pair.differences[metric].p) for pair in pairs) for metric in metrics}
    return [
        replace(
            pair,
            adjusted_test=tests[index],
            differences={
                metric: replace(
                    difference,
                    adjusted=adjusted[metric][index],
                    enough=pair.least_p * number[metric] < SIGNIFICANT,
                )
                for metric, difference in pair.differences.items()
            },
        )
        for index, pair in enumerate(pairs)
    ]
