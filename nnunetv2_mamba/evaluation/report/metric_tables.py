"""Tables of models and metrics."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from nnunetv2_mamba.evaluation.report import wording
from nnunetv2_mamba.evaluation.report.scores import Over, Result
from nnunetv2_mamba.evaluation.report.tables import (
    OVER,
    Cell,
    Column,
    Table,
    estimate_cell,
    interval_notes,
    model_cell,
)
from nnunetv2_mamba.evaluation.report.wording import CELLS, DASH, with_arrow

OVERVIEW: tuple[tuple[str, Over], ...] = (
    ("lesion_recall", "pooled"),
    ("lesion_precision", "pooled"),
    ("lesion_f1", "pooled"),
    ("fp_per_case", "pooled"),
    ("DSC", "mean"),
    ("NSD", "mean"),
    ("HD95", "mean"),
)


def overview(results: Sequence[Result], metrics: Mapping[str, Any], costs: Sequence[Mapping[str, Any] | None]) -> Table:
    """Models against cost and the metrics that matter most.

    Args:
        results: of all models on one target.
        metrics: description of each metric in the summary.
        costs: of each model; None where it is not known.
    """
    chosen = [(name, over) for name, over in OVERVIEW if name in metrics]
    estimates = [[result.scores.estimate(*metric) for metric in chosen] for result in results]
    columns = [Column("model", text=True), *(_metric_column(metrics[name]) for name, _ in chosen)]
    columns += [Column("parameters"), Column("epoch"), Column("peak memory"), Column("device", text=True)]
    rows = []
    for result, row, cost in zip(results, estimates, costs, strict=True):
        best = [
            _is_best(row[index].value, [other[index].value for other in estimates], metrics[name]["direction"])
            for index, (name, _) in enumerate(chosen)
        ]
        cells = [estimate_cell(estimate, mark) for estimate, mark in zip(row, best, strict=True)]
        rows.append([model_cell(result), *cells, *_cost_cells(cost or {})])
    return Table(columns, rows, interval_notes([estimate for row in estimates for estimate in row]))


def all_metrics(results: Sequence[Result], metrics: Mapping[str, Any]) -> Table:
    """Every metric against models, over all cases together and as mean of the cases."""
    columns = [Column("metric", text=True)]
    columns += [
        Column(result.name, note, model=result.place) for result in results for note in (OVER["pooled"], OVER["mean"])
    ]
    rows, all_estimates = [], []
    for name, metric in metrics.items():
        estimates = [result.scores.estimate(name, over) for result in results for over in ("pooled", "mean")]
        all_estimates += estimates
        rows.append([_metric_cell(name, metric), *(estimate_cell(estimate) for estimate in estimates)])
    return Table(columns, rows, interval_notes(all_estimates))


def empty_cells(results: Sequence[Result]) -> Table:
    """How many cases have the target in their reference, in their prediction, in both or in none."""
    columns = [Column("model", text=True), *(Column(words) for words in CELLS.values()), Column("cases")]
    rows = []
    for result in results:
        numbers = [result.entry["cells"].get(cell, 0) for cell in CELLS]
        rows.append([model_cell(result), *(Cell(f"{number:,}") for number in [*numbers, sum(numbers)])])
    return Table(columns, rows)


def lesion_free(results: Sequence[Result], size_unit: str) -> Table:
    """What is predicted in the cases without a lesion."""
    columns = [
        Column("model", text=True),
        Column("cases without a lesion"),
        Column("with inventions"),
        Column(with_arrow("specificity", "higher"), "share left empty"),
        Column(with_arrow("invented per case", "lower")),
        Column(with_arrow("their size per case", "lower"), size_unit),
    ]
    rows = []
    for result in results:
        free = result.entry["lesion_free"]
        counts = [Cell(f"{free[name]:,}") for name in ("cases", "with_inventions")]
        values = [Cell(wording.number(free[name])) for name in ("specificity", "fp_per_case", "fp_volume_per_case")]
        rows.append([model_cell(result), *counts, *values])
    return Table(columns, rows)


def definitions(metrics: Mapping[str, Any]) -> Table:
    """What every number means, and what it is where there is nothing to measure."""
    cells = [cell for cell in CELLS if cell != "neither_empty"]
    columns = [Column("metric", text=True), Column("formula", text=True), Column("better", text=True)]
    columns += [Column("unit", text=True), *(Column(CELLS[cell], text=True) for cell in cells)]
    rows = []
    for name, metric in metrics.items():
        better = metric["direction"] or "neither"
        empty = [_empty_value(metric["empty"].get(cell)) for cell in cells]
        texts = [metric.get("definition", ""), better, wording.unit(metric["unit"]) or DASH, *empty]
        rows.append([Cell(metric["label"], name), *map(Cell, texts)])
    return Table(columns, rows)


def _empty_value(value: float | str | None) -> str:
    if value is None:
        return "not defined"
    return "by the formula" if isinstance(value, str) else f"{value:g}"


def _metric_column(metric: Mapping[str, Any]) -> Column:
    unit = wording.unit(metric["unit"])
    return Column(wording.with_arrow(metric["label"], metric["direction"]), "" if unit in metric["label"] else unit)


def _metric_cell(name: str, metric: Mapping[str, Any]) -> Cell:
    label = wording.with_arrow(metric["label"], metric["direction"])
    return Cell(label, ", ".join(filter(None, [name, wording.unit(metric["unit"])])))


def _is_best(value: float, values: Sequence[float], direction: str | None) -> bool:
    defined = [other for other in values if math.isfinite(other)]
    if direction is None or len(values) < 2 or len(set(defined)) < 2:
        return False
    return value == (max if direction == "higher" else min)(defined)


def _cost_cells(cost: Mapping[str, Any]) -> list[Cell]:
    return [
        Cell(wording.parameters(cost.get("parameters"))),
        Cell(wording.seconds(cost.get("epoch_seconds"))),
        Cell(wording.memory(cost.get("peak_memory_bytes"))),
        Cell(str(cost.get("device") or DASH)),
    ]
