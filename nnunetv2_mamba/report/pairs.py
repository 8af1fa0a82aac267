"""Models against each other on the same cases, ready for the page."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnunetv2_mamba.report import plots, wording
from nnunetv2_mamba.report.scores import SIGNIFICANT, Difference, Pair, Result
from nnunetv2_mamba.report.statistics import Estimate
from nnunetv2_mamba.report.svg import inline_svg
from nnunetv2_mamba.report.tables import NO_INTERVAL, OVER, Cell, Column, Table
from nnunetv2_mamba.report.wording import DASH, MINUS


@dataclass(frozen=True)
class PairView:
    """Two models compared.

    Attributes:
        first: place of the one among the models.
        second: place of the other.
        plot: Dice of each case by both.
        table: differences with their intervals and p values.
        about: which cases they are of, in words.
        test: outcome of the signed-rank test, in words.
    """

    first: int
    second: int
    plot: str
    table: Table
    about: str
    test: str


@dataclass(frozen=True)
class Family:
    """The tests for whose number p values are adjusted.

    Attributes:
        tests: how many there are of each metric.
        unit: what is exchanged between models, ``case`` or ``patient``.
    """

    tests: int
    unit: str

    def in_words(self) -> str:
        """What p is, for the reader of a table."""
        words = (
            f"p is of a permutation test that exchanges the two models' results of a {self.unit}, at random; "
            f"more than chance means p\u00a0<\u00a0{SIGNIFICANT:g}"
        )
        if self.tests > 1:
            words += (
                f" after Holm's correction for the {self.tests:,} comparisons of this page (all pairs of models on all "
                "targets, each metric apart)"
            )
        return f"{words}."


def pair_views(
    pairs: Sequence[Pair],
    names: Sequence[str],
    anchors: Mapping[str, str],
    metrics: Mapping[str, Any],
    prefix: str,
    family: Family,
) -> list[PairView]:
    """Plot, table and test of each pair.

    Args:
        pairs: to be shown.
        names: of all models.
        anchors: name of the place of each case on the page.
        metrics: description of each metric in the summary.
        prefix: letters and digits that tell the plots from others of the page.
        family: of tests that the pairs belong to.
    """
    views = []
    for pair in pairs:
        both = names[pair.first], names[pair.second]
        links = [f"#{anchors[case]}" for case in pair.cases]
        titles = {
            link: f"{case}: {first:.3f} by {both[0]}, {second:.3f} by {both[1]}"
            for link, case, first, second in zip(links, pair.cases, *pair.dice, strict=True)
        }
        figure = plots.paired_values(pair.first, pair.second, pair.dice, links, both, "Dice")
        label = f"Dice of each case by {both[0]} and by {both[1]}"
        plot = inline_svg(figure, label, f"{prefix}p{pair.first}x{pair.second}", titles)
        table, test = differences(pair, metrics, family), _test(pair, both, family)
        views.append(PairView(pair.first, pair.second, plot, table, _about(pair, both), test))
    return views


def differences(pair: Pair, metrics: Mapping[str, Any], family: Family) -> Table:
    """How far the first model of a pair is above the second."""
    columns = [Column("difference", text=True), Column(f"first {MINUS} second"), Column("p")]
    columns.append(Column("", text=True))
    rows = []
    for (name, over), difference in pair.differences.items():
        if name not in metrics:
            continue
        cases, estimate = len(pair.cases), difference.estimate
        some = over == "mean" and estimate.cases < cases
        note = f"mean of the {wording.count(estimate.cases, 'case')} where both have it" if some else OVER[over]
        p = wording.p_value(difference.adjusted).removeprefix("p\u00a0").removeprefix("=\u00a0")
        rows.append(
            [
                Cell(metrics[name]["label"], note),
                Cell(_signed(estimate.value), _signed_interval(estimate)),
                Cell(p, "corrected" if family.tests > 1 else ""),
                Cell(verdict(difference)),
            ]
        )
    return Table(columns, rows, [family.in_words()])


def verdict(difference: Difference) -> str:
    """What the test of a difference says."""
    if difference.is_more_than_chance:
        return "more than chance"
    if math.isnan(difference.p):
        return "not defined"
    if difference.estimate.value == 0:
        return "no difference"
    return "may be chance" if difference.enough else "too few to tell"


def per_case(results: Sequence[Result], names: Sequence[str], anchors: Mapping[str, str]) -> Table:
    """Dice, lesions and inventions of each case.

    Args:
        results: of all models on one target.
        names: of the cases of all models.
        anchors: name of the place of each case on the page.
    """
    columns = [Column("case", text=True)]
    columns += [
        Column(result.name, note, model=result.place) for result in results for note in ("Dice", "found", "invented")
    ]
    places = [{case: index for index, case in enumerate(result.cases.names)} for result in results]
    rows = []
    for name in names:
        row = [Cell(name)]
        for result, place in zip(results, places, strict=True):
            row += _case_cells(result, place[name]) if name in place else [Cell(DASH)] * 3
        rows.append(row)
    return Table(columns, rows, anchors=[anchors[name] for name in names])


def _case_cells(result: Result, index: int) -> list[Cell]:
    counts = {name: values[index] for name, values in result.cases.counts.items()}
    return [
        Cell(wording.number(result.cases.metric("DSC")[index])),
        Cell(f"{counts['found']:.0f} of {counts['lesions']:.0f}"),
        Cell(f"{counts['components'] - counts['right']:.0f}"),
    ]


def _about(pair: Pair, names: tuple[str, str]) -> str:
    both = int(np.isfinite(pair.dice).all(axis=0).sum())
    words = (
        f"Differences are {names[0]} minus {names[1]} on the {wording.count(len(pair.cases), 'case')} that both have"
    )
    return f"{words}." if both == len(pair.cases) else f"{words}; Dice is defined by both in {both:,} of them."


def _test(pair: Pair, names: tuple[str, str], family: Family) -> str:
    test = pair.test
    equal = test.pairs - test.first_better - test.second_better
    better = f"Dice is higher by {names[0]} in {test.first_better:,}, by {names[1]} in {test.second_better:,}"
    better += f" and equal in {equal:,} of {wording.count(test.pairs, family.unit)}"
    better += " (means of their cases)." if family.unit == "patient" else "."
    if math.isnan(test.p):
        return f"{better} No {family.unit} differs, so there is nothing to test."
    correction = f", {wording.p_value(pair.adjusted_test)} when corrected likewise" if family.tests > 1 else ""
    return f"{better} Wilcoxon's signed-rank test: {wording.p_value(test.p)}{correction}."


def _signed(value: float) -> str:
    text = wording.number(abs(value))
    return text if math.isnan(value) or value == 0 else f"{'+' if value > 0 else MINUS}{text}"


def _signed_interval(estimate: Estimate) -> str:
    return f"{_signed(estimate.low)} to {_signed(estimate.high)}" if estimate.has_interval else NO_INTERVAL
