"""The metrics of a model with their intervals, and the differences of two models on the same cases."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nnunetv2_mamba.evaluation.metric import Metric, Over
from nnunetv2_mamba.evaluation.metrics import shown_in
from nnunetv2_mamba.report.permutation import Exchanges
from nnunetv2_mamba.report.reported_model import Cases, Lesions
from nnunetv2_mamba.report.statistics import Estimate, Pooled, Resampling, SignedRank, holm, signed_rank

SIGNIFICANT = 0.05
"""Adjusted p below which a difference is more than chance."""


class ModelScores:
    """Every metric of one model on some cases.

    Args:
        cases: counts and metrics of the cases.
        resampling: of these cases.
        pooled: metrics from summed counts.
    """

    def __init__(self, cases: Cases, resampling: Resampling, pooled: Pooled) -> None:
        self.cases, self._resampling = cases, resampling
        self._pooled = resampling.pooled(cases.counts, pooled)

    def drawn(self, metric: str, over: Over) -> np.ndarray:
        """Value for the original cases and for each draw (1 + draws,); NaN if the metric does not exist."""
        if over == "mean":
            return self._resampling.mean(self.cases.metric(metric))
        return self._pooled.get(metric, np.full(len(self._resampling.weights), np.nan))

    def estimate(self, metric: str, over: Over) -> Estimate:
        """Value and interval."""
        return self._resampling.estimate(self.drawn(metric, over), self.has_value(metric))

    def has_value(self, metric: str) -> np.ndarray:
        """Which cases have a value of their own (cases,), bool."""
        return np.isfinite(self.cases.metric(metric))


@dataclass(frozen=True, kw_only=True)
class ModelResult:
    """Result of one model on one target.

    Attributes:
        place: index of the model.
        name: of the model.
        entry: of the target in the summary.
        scores: of all cases of the model.
        resampling: of these cases.
        lesions: true positive and missed ones.
    """

    place: int
    name: str
    entry: Mapping[str, Any]
    scores: ModelScores
    resampling: Resampling
    lesions: Lesions

    @property
    def cases(self) -> Cases:
        """Counts and metrics of each case."""
        return self.scores.cases

    def total(self, count: str) -> float:
        """Sum of a count over the cases."""
        return float(np.nansum(self.cases.counts.get(count, np.zeros(0))))


@dataclass(frozen=True, kw_only=True)
class ScoreDifference:
    """Difference of two models in one metric.

    Attributes:
        metric: the metric.
        estimate: first minus second, with its interval.
        p: of the paired permutation test.
        adjusted: the same, corrected for the number of tests of this metric, see `adjust`.
        enough_cases: whether the test can give an adjusted p below `SIGNIFICANT` with so few cases.
    """

    metric: Metric
    estimate: Estimate
    p: float
    adjusted: float
    enough_cases: bool

    @property
    def is_more_than_chance(self) -> bool:
        """Whether chance alone would rarely give such a difference."""
        return self.adjusted < SIGNIFICANT


@dataclass(frozen=True, kw_only=True)
class ModelPair:
    """Two models on the same cases.

    Attributes:
        first: index of the first model.
        second: index of the second model.
        cases: names of the cases that both have.
        dice: Dice of each case, by the first and by the second (2, cases).
        differences: one for each metric.
        test: of Dice by case, or by patient.
        adjusted_test: its p, corrected for the number of such tests.
        least_p: smallest p that the permutation test can give.
    """

    first: int
    second: int
    cases: tuple[str, ...]
    dice: np.ndarray
    differences: tuple[ScoreDifference, ...]
    test: SignedRank
    adjusted_test: float
    least_p: float

    def difference(self, metric: str) -> ScoreDifference:
        """Difference in a metric, by its name."""
        return next(each for each in self.differences if each.metric.name == metric)


def compare_models(
    places: tuple[int, int], models: Sequence[Cases], *, names: Sequence[str], groups: Sequence[str], pooled: Pooled
) -> ModelPair:
    """Compare two models on the cases that both have.

    Args:
        places: indices of the two models.
        models: counts and metrics of the cases of each model.
        names: of the cases that both have.
        groups: group of each of these cases, such as its patient; a group is drawn and exchanged as a whole.
        pooled: metrics from summed counts.
    """
    resampling, exchanges = Resampling(groups), Exchanges(groups)
    first, second = (ModelScores(models[place].of(names), resampling, pooled) for place in places)
    p_of_pooled = exchanges.p_of_pooled(first.cases.counts, second.cases.counts, pooled)

    def difference(metric: Metric) -> ScoreDifference:
        has_value = first.has_value(metric.name)
        if metric.over == "mean":
            # Both means are over the same cases; otherwise their difference would depend on the cases.
            has_value = has_value & second.has_value(metric.name)
            both = [np.where(has_value, scores.cases.metric(metric.name), np.nan) for scores in (first, second)]
            p, drawn = exchanges.p_of_mean(both[0] - both[1]), [resampling.mean(values) for values in both]
        else:
            p = p_of_pooled.get(metric.name, np.nan)
            drawn = [scores.drawn(metric.name, "pooled") for scores in (first, second)]
        estimate = resampling.estimate(drawn[0] - drawn[1], has_value)
        enough = exchanges.least_p < SIGNIFICANT
        return ScoreDifference(metric=metric, estimate=estimate, p=p, adjusted=p, enough_cases=enough)

    dice = np.stack([scores.cases.metric("DSC") for scores in (first, second)])
    test = signed_rank(dice[0], dice[1], groups)
    return ModelPair(
        first=places[0],
        second=places[1],
        cases=tuple(names),
        dice=dice,
        differences=tuple(map(difference, shown_in("comparison"))),
        test=test,
        adjusted_test=test.p,
        least_p=exchanges.least_p,
    )


def adjust(pairs: Sequence[ModelPair]) -> list[ModelPair]:
    """The pairs with p values corrected by Holm's method, separately for each metric and for the signed-rank test.

    Args:
        pairs: all pairs of the report: of all models, on all targets.
    """
    tests = holm([pair.test.p for pair in pairs])
    columns = list(zip(*(pair.differences for pair in pairs), strict=True))
    p_values = [[difference.p for difference in column] for column in columns]
    adjusted, number = [holm(ps) for ps in p_values], [sum(map(math.isfinite, ps)) for ps in p_values]
    return [
        replace(
            pair,
            adjusted_test=tests[index],
            differences=tuple(
                replace(each, adjusted=ps[index], enough_cases=pair.least_p * count < SIGNIFICANT)
                for each, ps, count in zip(pair.differences, adjusted, number, strict=True)
            ),
        )
        for index, pair in enumerate(pairs)
    ]
