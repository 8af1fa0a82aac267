"""Models against each other on the same cases, ready for the page."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nnunetv2_mamba.evaluation.report import plots, wording
from nnunetv2_mamba.evaluation.report.scores import Pair, Result
from nnunetv2_mamba.evaluation.report.statistics import Estimate, holm
from nnunetv2_mamba.evaluation.report.svg import inline_svg
from nnunetv2_mamba.evaluation.report.tables import NO_INTERVAL, OVER, Cell, Column, Table
from nnunetv2_mamba.evaluation.report.wording import DASH, MINUS


@dataclass(frozen=True)
class PairView:
    """Two models compared.

    Attributes:
        first: place of the one among the models.
        second: place of the other.
        cases: how many both have.
        plot: Dice of each case by both.
        table: differences with their intervals.
        test: outcome of the signed-rank test, in words.
    """

    first: int
    second: int
    cases: int
    plot: str
    table: Table
    test: str


def pair_views(
    pairs: Sequence[Pair], names: Sequence[str], anchors: Mapping[str, str], metrics: Mapping[str, Any], prefix: str
) -> list[PairView]:
    """Plot, table and test of each pair.

    Args:
        pairs: to be shown.
        names: of all models.
        anchors: name of the place of each case on the page.
        metrics: description of each metric in the summary.
        prefix: letters and digits that tell the plots from others of the page.
    """
    adjusted = holm([pair.test.p for pair in pairs])
    views = []
    for pair, p in zip(pairs, adjusted, strict=True):
        both = names[pair.first], names[pair.second]
        links = [f"#{anchors[case]}" for case in pair.cases]
        titles = {
            link: f"{case}: {first:.3f} by {both[0]}, {second:.3f} by {both[1]}"
            for link, case, first, second in zip(links, pair.cases, *pair.dice, strict=True)
        }
        figure = plots.paired_values(pair.first, pair.second, pair.dice, links, both, "Dice")
        label = f"Dice of each case by {both[0]} and by {both[1]}"
        plot = inline_svg(figure, label, f"{prefix}p{pair.first}x{pair.second}", titles)
        test = _test(pair, p, both, len(pairs))
        views.append(PairView(pair.first, pair.second, len(pair.cases), plot, differences(pair, metrics), test))
    return views


def differences(pair: Pair, metrics: Mapping[str, Any]) -> Table:
    """How far the first model of a pair is above the second."""
    columns = [Column("difference", text=True), Column(f"first {MINUS} second"), Column("", text=True)]
    rows = []
    for (name, over), estimate in pair.differences.items():
        if name not in metrics:
            continue
        rows.append(
            [
                Cell(f"{metrics[name]['label']}", OVER[over]),
                Cell(_signed(estimate.value), _signed_interval(estimate)),
                Cell(verdict(estimate)),
            ]
        )
    return Table(columns, rows)


def verdict(estimate: Estimate) -> str:
    """What an interval of a difference says."""
    if not estimate.has_interval:
        return "too few cases to tell, or all alike"
    return "more than chance" if estimate.excludes_zero else "may be chance"


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


def _test(compared: Pair, adjusted: float, names: tuple[str, str], number: int) -> str:
    test = compared.test
    equal = test.cases - test.first_better - test.second_better
    better = f"Dice is higher by {names[0]} in {test.first_better:,}, by {names[1]} in {test.second_better:,}"
    better += f" and equal in {equal:,} of {wording.count(test.cases, 'case')}."
    if math.isnan(test.p):
        return f"{better} No case differs, so there is nothing to test."
    correction = f", {wording.p_value(adjusted)} when corrected for {number} pairs (Holm)" if number > 1 else ""
    return f"{better} Wilcoxon's signed-rank test: {wording.p_value(test.p)}{correction}."


def _signed(value: float) -> str:
    text = wording.number(abs(value))
    return text if math.isnan(value) or value == 0 else f"{'+' if value > 0 else MINUS}{text}"


def _signed_interval(estimate: Estimate) -> str:
    return f"{_signed(estimate.low)} to {_signed(estimate.high)}" if estimate.has_interval else NO_INTERVAL
