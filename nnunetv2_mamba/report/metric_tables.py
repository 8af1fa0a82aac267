"""Tables of models and metrics."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnunetv2_mamba.evaluation.metric import Over
from nnunetv2_mamba.evaluation.metrics import shown_in
from nnunetv2_mamba.report import wording
from nnunetv2_mamba.report.scores import ModelResult
from nnunetv2_mamba.report.statistics import Estimate
from nnunetv2_mamba.report.tables import OVER, Column, Table, TableCell, estimate_cell, interval_notes, model_cell
from nnunetv2_mamba.report.wording import DASH, EMPTINESS, with_arrow

DIFFERENT_CASES = (
    "n is the number of cases, where the models have different cases: such values must not be compared, and none is "
    "bold."
)


@dataclass(frozen=True)
class _Values:
    """One metric of all models, over the same cases or not."""

    estimates: list[Estimate]
    cells: list[TableCell]
    same_cases: bool


def overview(results: Sequence[ModelResult], metrics: Mapping[str, Any]) -> Table:
    """Models against the most important metrics.

    Args:
        results: of all models on one target.
        metrics: description of each metric in the summary.
    """
    chosen = [metric for metric in shown_in("overview") if metric.name in metrics]
    columns = [_values(results, metric.name, metric.over, best=metric.direction) for metric in chosen]
    heads = [Column("model", text=True)]
    for metric in chosen:
        unit = wording.unit(metrics[metric.name]["unit"])
        heads.append(Column(with_arrow(metric.label, metric.direction), "" if unit in metric.label else unit))
    rows = [[model_cell(result), *(column.cells[row] for column in columns)] for row, result in enumerate(results)]
    return Table(heads, rows, _notes(columns))


def all_metrics(results: Sequence[ModelResult], metrics: Mapping[str, Any]) -> Table:
    """Every metric against models, over all cases together and as mean of the cases."""
    heads = [Column("metric", text=True)]
    heads += [Column(result.name, note, model=result.place) for result in results for note in OVER.values()]
    rows, columns = [], []
    for name, metric in metrics.items():
        both = [_values(results, name, over) for over in OVER]
        columns += both
        note = ", ".join(filter(None, [name, wording.unit(metric["unit"])]))
        head = TableCell(with_arrow(metric["label"], metric["direction"]), note)
        rows.append([head, *(cell for cells in zip(*(each.cells for each in both), strict=True) for cell in cells)])
    return Table(heads, rows, _notes(columns))


def per_case(results: Sequence[ModelResult], names: Sequence[str]) -> Table:
    """Dice, true positive lesions and false positives of each case.

    Args:
        results: of all models on one target.
        names: of the cases of all models.
    """
    columns = [Column("case", text=True)]
    notes = ("Dice", "true positive lesions", "false positives")
    columns += [Column(result.name, note, model=result.place) for result in results for note in notes]
    places = [{case: index for index, case in enumerate(result.cases.names)} for result in results]
    rows = [[TableCell(name)] for name in names]
    for row, name in zip(rows, names, strict=True):
        for result, place in zip(results, places, strict=True):
            row += _of_case(result, place[name]) if name in place else [TableCell(DASH)] * 3
    return Table(columns, rows)


def _of_case(result: ModelResult, index: int) -> list[TableCell]:
    counts = {name: values[index] for name, values in result.cases.counts.items()}
    return [
        TableCell(wording.number(result.cases.metric("DSC")[index])),
        TableCell(f"{counts['true_positive_lesions']:.0f} of {counts['lesions']:.0f}"),
        TableCell(f"{counts['components'] - counts['true_positive_components']:.0f}"),
    ]


def cost_table(names: Sequence[str], costs: Sequence[Mapping[str, Any] | None]) -> Table | None:
    """Cost of the training of each model; None if all costs are unknown. A column that is unknown for all is left out.

    Args:
        names: of the models.
        costs: of each model; None where it is unknown.
    """
    columns = [(Column(words, text=text), [in_words(cost or {}) for cost in costs]) for words, text, in_words in _COSTS]
    known = [(column, cells) for column, cells in columns if any(cell != DASH for cell in cells)]
    rows = [
        [TableCell(name, model=place), *(TableCell(cells[place]) for _, cells in known)]
        for place, name in enumerate(names)
    ]
    return Table([Column("model", text=True), *(column for column, _ in known)], rows) if known else None


def empty_cases(results: Sequence[ModelResult]) -> Table:
    """Number of cases by which masks are empty."""
    columns = [Column("model", text=True), *(Column(words) for words in EMPTINESS.values()), Column("cases")]
    rows = []
    for result in results:
        numbers = [result.entry["cells"].get(emptiness, 0) for emptiness in EMPTINESS]
        rows.append([model_cell(result), *(TableCell(f"{number:,}") for number in [*numbers, sum(numbers)])])
    return Table(columns, rows)


def lesion_free(results: Sequence[ModelResult], size_unit: str) -> Table:
    """False positives in the cases without a lesion."""
    columns = [
        Column("model", text=True),
        Column("cases without a lesion"),
        Column("with false positives"),
        Column(with_arrow("specificity", "higher"), "share without any"),
        Column(with_arrow("false positives per case", "lower")),
        Column(with_arrow("their size per case", "lower"), size_unit),
    ]
    rows = []
    for result in results:
        free = result.entry["lesion_free"]
        counts = [TableCell(f"{free[name]:,}") for name in ("cases", "with_false_positives")]
        values = [TableCell(wording.number(free[key])) for key in ("specificity", "fp_per_case", "fp_volume_per_case")]
        rows.append([model_cell(result), *counts, *values])
    return Table(columns, rows)


def definitions(metrics: Mapping[str, Any]) -> Table:
    """Formula of every metric, and its value in empty cases."""
    empty = [emptiness for emptiness in EMPTINESS if emptiness != "neither_empty"]
    heads = ("metric", "formula", "better", "unit", *(EMPTINESS[emptiness] for emptiness in empty))
    rows = []
    for name, metric in metrics.items():
        values = [_empty_value(metric["empty"].get(emptiness)) for emptiness in empty]
        texts = [metric["definition"], metric["direction"] or "neither", wording.unit(metric["unit"]) or DASH, *values]
        rows.append([TableCell(metric["label"], name), *map(TableCell, texts)])
    return Table([Column(head, text=True) for head in heads], rows)


def protocol_table(protocol: Mapping[str, Any]) -> Table:
    """Every field of a protocol."""
    fields = {key: value for key, value in protocol.items() if key not in ("name", "strata")}
    fields |= {f"strata: {key}": value for key, value in protocol["strata"].items()}
    rows = [[TableCell(key), TableCell(_field(value))] for key, value in fields.items()]
    return Table([Column("field", text=True), Column("value", text=True)], rows)


def _field(value: Any) -> str:
    if isinstance(value, list):
        return "; ".join(" ".join(map(_field, entry)) if isinstance(entry, list) else _field(entry) for entry in value)
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _values(results: Sequence[ModelResult], name: str, over: Over, best: str | None = None) -> _Values:
    estimates = [result.scores.estimate(name, over) for result in results]
    cases = [_cases_of(result, name, over) for result in results]
    # A metric that no model has does not differ in its cases.
    same = len(set(cases)) == 1 or not any(math.isfinite(estimate.value) for estimate in estimates)
    defined = {estimate.value for estimate in estimates if math.isfinite(estimate.value)}
    top = (max if best == "higher" else min)(defined) if best and same and len(defined) > 1 else None
    cells = [
        estimate_cell(estimate, best=estimate.value == top, cases=None if same else len(mine))
        for estimate, mine in zip(estimates, cases, strict=True)
    ]
    return _Values(estimates, cells, same)


def _cases_of(result: ModelResult, metric: str, over: Over) -> frozenset[str]:
    """Names of the cases of a value: all pooled cases, or the cases of the mean."""
    names = np.array(result.cases.names, dtype=object)
    return frozenset(names if over == "pooled" else names[result.scores.has_value(metric)])


def _notes(columns: Sequence[_Values]) -> list[str]:
    different = [] if all(column.same_cases for column in columns) else [DIFFERENT_CASES]
    return [*interval_notes([estimate for column in columns for estimate in column.estimates]), *different]


def _empty_value(value: float | str | None) -> str:
    if value is None:
        return "not defined"
    return "by the formula" if isinstance(value, str) else f"{value:g}"


_COSTS: tuple[tuple[str, bool, Callable[[Mapping[str, Any]], str]], ...] = (
    ("parameters", False, lambda cost: wording.parameters(cost.get("parameters"))),
    ("epoch", False, lambda cost: wording.seconds(cost.get("epoch_seconds"))),
    ("peak memory", False, lambda cost: wording.memory(cost.get("peak_memory_bytes"))),
    ("device", True, lambda cost: str(cost.get("device") or DASH)),
)
