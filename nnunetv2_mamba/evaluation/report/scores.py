"""The metrics of a model with their intervals, and how far two models differ on the same cases."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from nnunetv2_mamba.evaluation.report.source import Cases, Lesions
from nnunetv2_mamba.evaluation.report.statistics import Estimate, Pooled, Resampling, SignedRank, signed_rank

Over = Literal["pooled", "mean"]
"""From the counts of all cases together, or the mean of the cases that have a value."""

PAIRED: tuple[tuple[str, Over], ...] = (("DSC", "mean"), ("lesion_recall", "pooled"), ("lesion_f1", "pooled"))


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


@dataclass(frozen=True)
class Pair:
    """Two models on the same cases.

    Attributes:
        first: place of the one among the models.
        second: place of the other.
        cases: names of the cases that both have.
        dice: Dice of each case by the first, and by the second (2, cases).
        differences: first minus second, with its interval, by metric.
        test: of Dice by case.
    """

    first: int
    second: int
    cases: tuple[str, ...]
    dice: np.ndarray
    differences: Mapping[tuple[str, Over], Estimate]
    test: SignedRank


def pair(
    places: tuple[int, int],
    models: Sequence[Cases],
    names: Sequence[str],
    groups: Sequence[str],
    pooled: Pooled,
    metrics: Sequence[tuple[str, Over]] = PAIRED,
) -> Pair:
    """Compare two models on the cases that both have.

    Args:
        places: of the two among the models.
        models: what was counted in the cases of each model.
        names: of the cases that both have.
        groups: what is drawn together with each of these cases.
        pooled: metrics from summed counts.
        metrics: whose difference is wanted.
    """
    resampling = Resampling(groups)
    first, second = (Scores(models[place].of(names), resampling, pooled) for place in places)
    dice = np.stack([scores.cases.metric("DSC") for scores in (first, second)])
    differences = {}
    for metric, over in metrics:
        bears = first.bears(metric) & second.bears(metric) if over == "mean" else first.bears(metric)
        if over == "mean":
            # Both means over the same cases, or the difference would be one of cases.
            values = first.cases.metric(metric) - second.cases.metric(metric)
            drawn = resampling.mean(values)
        else:
            drawn = first.drawn(metric, over) - second.drawn(metric, over)
        differences[metric, over] = resampling.estimate(drawn, bears)
    return Pair(*places, tuple(names), dice, differences, signed_rank(*dice))
