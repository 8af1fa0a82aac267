"""How far the metrics move under other protocols."""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

from nnunetv2_mamba.evaluation.metric import Metric
from nnunetv2_mamba.evaluation.metrics import shown_in
from nnunetv2_mamba.report import wording
from nnunetv2_mamba.report.reported_model import ReportedModel, nan_for_null
from nnunetv2_mamba.report.tables import Column, Table, TableCell

Row = tuple[str, list[Mapping[str, float]]]
"""Name of a protocol, and the metrics of each model under it."""


def sensitivity_rows(models: Sequence[ReportedModel], target: str) -> list[Row]:
    """The protocol of the evaluation, then the others that every model was evaluated under; empty without others."""
    first = models[0].summary
    others = [{entry["protocol_hash"]: entry for entry in model.summary["sensitivity"] or ()} for model in models]
    rows: list[Row] = []
    for key, entry in others[0].items():
        if key != first["protocol_hash"] and all(key in other for other in others):
            values: list[Mapping[str, float]] = [_floats(other[key]["targets"][target]["pooled"]) for other in others]
            rows.append((entry["protocol"]["name"], values))
    own: list[Mapping[str, float]] = [_floats(model.summary["targets"][target]["pooled"]) for model in models]
    return [(first["protocol"]["name"], own), *rows] if rows else []


def sensitivity_table(rows: Sequence[Row], names: Sequence[str]) -> Table:
    """Protocols against the metrics of each model, with the range of each in the last row.

    Args:
        rows: of `sensitivity_rows`.
        names: of the models.
    """
    places = [(metric, place) for metric in shown_in("sensitivity") for place in range(len(names))]
    columns = [Column("protocol", text=True)]
    columns += [Column(metric.label, names[place], model=place) for metric, place in places]
    table = [
        [TableCell(name), *(TableCell(wording.number(values[place][metric.name])) for metric, place in places)]
        for name, values in rows
    ]
    ranges = []
    for metric, place in places:
        column = [value for _, values in rows if math.isfinite(value := values[place][metric.name])]
        # A single value has no range.
        spread = wording.number(max(column) - min(column)) if len(column) > 1 else wording.DASH
        ranges.append(TableCell(spread, f"of {len(column)} protocols" if 1 < len(column) < len(rows) else ""))
    notes = [f"{wording.DASH}: not defined under this protocol; ranges and orders are of the others."]
    undefined = any(math.isnan(value) for _, values in rows for each in values for value in each.values())
    return Table(columns, [*table, [TableCell("range", "largest minus smallest"), *ranges]], notes if undefined else [])


def order_changes(rows: Sequence[Row], names: Sequence[str]) -> list[str]:
    """One sentence for each metric: which protocols change the order of the models."""
    return [f"{metric.label}: {_changes(metric, rows, names)}." for metric in shown_in("sensitivity") if len(names) > 1]


def _changes(metric: Metric, rows: Sequence[Row], names: Sequence[str]) -> str:
    changes = []
    for first, second in combinations(range(len(names)), 2):
        gaps = [(name, values[first][metric.name] - values[second][metric.name]) for name, values in rows]
        own = gaps[0][1]
        if where := [f"“{name}”" for name, gap in gaps[1:] if own * gap < 0]:
            better, worse = (first, second) if own > 0 else (second, first)
            changes.append(f"{names[better]} is above {names[worse]}, but below under {', '.join(where)}")
    return "; ".join(changes) or "no protocol changes the order of the models"


def _floats(values: Mapping[str, float | None]) -> dict[str, float]:
    return {metric.name: nan_for_null(values.get(metric.name)) for metric in shown_in("sensitivity")}
