"""Two models on the same cases, ready for the page."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnunetv2_mamba.report import plots, wording
from nnunetv2_mamba.report.scores import SIGNIFICANT, ModelPair, ScoreDifference
from nnunetv2_mamba.report.statistics import Estimate
from nnunetv2_mamba.report.style import data_uri
from nnunetv2_mamba.report.tables import NO_INTERVAL, OVER, Column, Table, TableCell
from nnunetv2_mamba.report.wording import MINUS


@dataclass(frozen=True)
class PairView:
    """Comparison of two models.

    Attributes:
        first: name of the first model.
        second: name of the second.
        plot: Dice of each case by both, as a data URI.
        table: differences with their intervals and p values.
        about: cases and signed-rank test, in words.
    """

    first: str
    second: str
    plot: str
    table: Table
    about: str


@dataclass(frozen=True)
class Family:
    """The tests whose p values are corrected together.

    Attributes:
        tests: number of tests of each metric.
        unit: what the tests exchange between models, ``case`` or ``patient``.
    """

    tests: int
    unit: str

    def in_words(self) -> str:
        """Explains p to the reader of a table."""
        words = (
            f"p: paired permutation test that exchanges the results of a {self.unit} between the models; "
            f"more than chance means p\u00a0<\u00a0{SIGNIFICANT:g}"
        )
        if self.tests > 1:
            words += (
                f" after Holm's correction for the {self.tests:,} comparisons of this page (all pairs of models on all "
                "targets, separately for each metric)"
            )
        return f"{words}."


def pair_view(pair: ModelPair, names: Sequence[str], metrics: Mapping[str, Any], family: Family) -> PairView:
    """Plot, table and signed-rank test of a pair.

    Args:
        pair: two models.
        names: of all models.
        metrics: description of each metric in the summary.
        family: of tests that the pair belongs to.
    """
    both = names[pair.first], names[pair.second]
    figure = plots.paired_values(pair.first, pair.second, values=pair.dice, names=names, label="Dice")
    about = f"{_cases(pair, both)} {_signed_rank(pair, both, family)}"
    return PairView(*both, plot=data_uri(figure), table=differences(pair, metrics, family), about=about)


def differences(pair: ModelPair, metrics: Mapping[str, Any], family: Family) -> Table:
    """How far the first model of a pair is above the second."""
    columns = [Column("metric", text=True), Column(f"first {MINUS} second"), Column("p"), Column("", text=True)]
    rows = []
    for difference in pair.differences:
        metric, estimate = difference.metric, difference.estimate
        if metric.name not in metrics:
            continue
        some = metric.over == "mean" and estimate.cases < len(pair.cases)
        note = f"mean of the {wording.count(estimate.cases, 'case')} where both have it" if some else OVER[metric.over]
        p = wording.p_value(difference.adjusted).removeprefix("p\u00a0").removeprefix("=\u00a0")
        rows.append(
            [
                TableCell(wording.with_arrow(metric.label, metric.direction), note),
                TableCell(_signed(estimate.value), _signed_interval(estimate)),
                TableCell(p, "corrected" if family.tests > 1 else ""),
                TableCell(verdict(difference)),
            ]
        )
    return Table(columns, rows)


def verdict(difference: ScoreDifference) -> str:
    """Result of the test of a difference."""
    if difference.is_more_than_chance:
        return "more than chance"
    if math.isnan(difference.p):
        return "not defined"
    if difference.estimate.value == 0:
        return "no difference"
    return "may be chance" if difference.enough_cases else "too few to tell"


def _cases(pair: ModelPair, names: tuple[str, str]) -> str:
    both = int(np.isfinite(pair.dice).all(axis=0).sum())
    words = f"First is {names[0]}, second is {names[1]}, on the {wording.count(len(pair.cases), 'case')} that both have"
    return f"{words}." if both == len(pair.cases) else f"{words}; both have a Dice in {both:,} of them."


def _signed_rank(pair: ModelPair, names: tuple[str, str], family: Family) -> str:
    test = pair.test
    equal = test.pairs - test.first_better - test.second_better
    better = f"Dice is higher by {names[0]} in {test.first_better:,}, by {names[1]} in {test.second_better:,}"
    better += f" and equal in {equal:,} of {wording.count(test.pairs, family.unit)}"
    better += " (means of their cases)." if family.unit == "patient" else "."
    if math.isnan(test.p):
        return f"{better} No {family.unit} differs, so there is nothing to test."
    correction = f", corrected {wording.p_value(pair.adjusted_test)}" if family.tests > 1 else ""
    return f"{better} Wilcoxon's signed-rank test of Dice: {wording.p_value(test.p)}{correction}."


def _signed(value: float) -> str:
    text = wording.number(abs(value))
    return text if math.isnan(value) or value == 0 else f"{'+' if value > 0 else MINUS}{text}"


def _signed_interval(estimate: Estimate) -> str:
    return f"{_signed(estimate.low)} to {_signed(estimate.high)}" if estimate.has_interval else NO_INTERVAL
