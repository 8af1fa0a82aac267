"""Tables of models and metrics."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nnunetv2_mamba.report import wording
from nnunetv2_mamba.report.scores import Over, Result
from nnunetv2_mamba.report.statistics import Estimate
from nnunetv2_mamba.report.tables import (
    OVER,
    Cell,
    Column,
    Table,
    cases_of,
    estimate_cell,
    interval_notes,
    model_cell,
)
from nnunetv2_mamba.report.wording import CELLS, DASH, with_arrow

OVERVIEW: tuple[tuple[str, Over], ...] = (
    ("lesion_recall", "pooled"),
    ("lesion_precision", "pooled"),
    ("lesion_f1", "pooled"),
    ("fp_per_case", "pooled"),
    ("lesion_dice", "pooled"),
    ("DSC", "mean"),
    ("NSD", "mean"),
    ("HD95", "mean"),
)


DIFFERENT_CASES = (
    "n is the number of cases, where it is not the same cases for all models: such values must not be compared, and "
    "none is bold."
)


def overview(results: Sequence[Result], metrics: Mapping[str, Any]) -> Table:
    """Models against the metrics that matter most.

    Args:
        results: of all models on one target.
        metrics: description of each metric in the summary.
    """
    chosen = [(name, over) for name, over in OVERVIEW if name in metrics]
    columns = [_metrics_column(results, name, over, metrics[name]["direction"]) for name, over in chosen]
    heads = [Column("model", text=True), *(_metric_column(metrics[name]) for name, _ in chosen)]
    rows = [[model_cell(result), *(column.cells[row] for column in columns)] for row, result in enumerate(results)]
    notes = interval_notes([estimate for column in columns for estimate in column.estimates])
    return Table(heads, rows, [*notes, *_different(columns)])


def cost_table(names: Sequence[str], costs: Sequence[Mapping[str, Any] | None]) -> Table | None:
    """What the models cost, as far as it is known of one of them; None where nothing is.

    Args:
        names: of the models.
        costs: of each model; None where it is not known.
    """
    columns = [(Column(words, text=text), [in_words(cost or {}) for cost in costs]) for words, text, in_words in _COSTS]
    known = [(column, cells) for column, cells in columns if any(cell != DASH for cell in cells)]
    rows = [[Cell(name, model=place), *(Cell(cells[place]) for _, cells in known)] for place, name in enumerate(names)]
    return Table([Column("model", text=True), *(column for column, _ in known)], rows) if known else None


def all_metrics(results: Sequence[Result], metrics: Mapping[str, Any]) -> Table:
    """Every metric against models, over all cases together and as mean of the cases."""
    heads = [Column("metric", text=True)]
    heads += [
        Column(result.name, note, model=result.place) for result in results for note in (OVER["pooled"], OVER["mean"])
    ]
    rows, columns = [], []
    for name, metric in metrics.items():
        pooled, mean = (_metrics_column(results, name, over, None) for over in ("pooled", "mean"))
        columns += [pooled, mean]
        both = [cell for cells in zip(pooled.cells, mean.cells, strict=True) for cell in cells]
        rows.append([_metric_cell(name, metric), *both])
    notes = interval_notes([estimate for column in columns for estimate in column.estimates])
    return Table(heads, rows, [*notes, *_different(columns)])


@dataclass(frozen=True)
class _OfModels:
    """One metric of all models.

    Attributes:
        estimates: one for each model.
        cells: likewise.
        same_cases: whether all are of the same cases.
    """

    estimates: list[Estimate]
    cells: list[Cell]
    same_cases: bool


def _metrics_column(results: Sequence[Result], name: str, over: Over, direction: str | None) -> _OfModels:
    estimates = [result.scores.estimate(name, over) for result in results]
    cases = [cases_of(result, name, over) for result in results]
    # A metric that no model has is not one of other cases.
    same = len(set(cases)) == 1 or not any(math.isfinite(estimate.value) for estimate in estimates)
    values = [estimate.value for estimate in estimates]
    cells = [
        estimate_cell(estimate, same and _is_best(estimate.value, values, direction), None if same else len(mine))
        for estimate, mine in zip(estimates, cases, strict=True)
    ]
    return _OfModels(estimates, cells, same)


def _different(columns: Sequence[_OfModels]) -> list[str]:
    return [] if all(column.same_cases for column in columns) else [DIFFERENT_CASES]


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


_COSTS: tuple[tuple[str, bool, Callable[[Mapping[str, Any]], str]], ...] = (
    ("parameters", False, lambda cost: wording.parameters(cost.get("parameters"))),
    ("epoch", False, lambda cost: wording.seconds(cost.get("epoch_seconds"))),
    ("peak memory", False, lambda cost: wording.memory(cost.get("peak_memory_bytes"))),
    ("device", True, lambda cost: str(cost.get("device") or DASH)),
)
