"""How far the conclusion moves under other protocols."""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from nnunetv2_mamba.evaluation.report import wording
from nnunetv2_mamba.evaluation.report.source import Source
from nnunetv2_mamba.evaluation.report.tables import Cell, Column, Table

METRICS = ("lesion_recall", "lesion_precision", "lesion_f1")

Row = tuple[str, list[Mapping[str, float]]]
"""Name of a protocol, and the metrics of each model under it."""


def sensitivity_rows(sources: Sequence[Source], target: str) -> list[Row]:
    """The evaluation's own protocol first, then the others that every model was evaluated under; empty without any."""
    first = sources[0].summary
    others = [{entry["protocol_hash"]: entry for entry in source.summary["sensitivity"] or ()} for source in sources]
    rows: list[Row] = []
    for key, entry in others[0].items():
        if key == first["protocol_hash"] or not all(key in other for other in others):
            continue
        values = [other[key]["targets"][target]["pooled"] for other in others]
        rows.append((entry["protocol"]["name"], [_floats(each) for each in values]))
    if not rows:
        return []
    own: list[Mapping[str, float]] = [_floats(source.summary["targets"][target]["pooled"]) for source in sources]
    return [(first["protocol"]["name"], own), *rows]


def sensitivity_table(rows: Sequence[Row], names: Sequence[str], metrics: Mapping[str, Any]) -> Table:
    """Protocols against recall, precision and F1 of each model, with the range of each below.

    Args:
        rows: of `sensitivity_rows`.
        names: of the models.
        metrics: description of each metric in the summary.
    """
    columns = [Column("protocol", text=True)]
    columns += [
        Column(metrics[metric]["label"], name, model=place) for metric in METRICS for place, name in enumerate(names)
    ]
    places = [(metric, place) for metric in METRICS for place in range(len(names))]
    table = [
        [Cell(name), *(Cell(wording.number(values[place][metric])) for metric, place in places)]
        for name, values in rows
    ]
    ranges = []
    for metric, place in places:
        column = [value for _, values in rows if math.isfinite(value := values[place][metric])]
        ranges.append(Cell(wording.number(max(column) - min(column)) if column else wording.DASH))
    return Table(columns, [*table, [Cell("range", "largest minus smallest"), *ranges]])


def flips(rows: Sequence[Row], names: Sequence[str], metrics: Mapping[str, Any]) -> list[str]:
    """One sentence for every pair of models and metric: whether another protocol would turn their order round."""
    sentences = []
    for metric in METRICS:
        label = metrics[metric]["label"]
        turned = []
        for first, second in combinations(range(len(names)), 2):
            own = rows[0][1][first][metric] - rows[0][1][second][metric]
            where = [name for name, values in rows[1:] if own * (values[first][metric] - values[second][metric]) < 0]
            if where:
                better, worse = (first, second) if own > 0 else (second, first)
                turned.append(f"{names[better]} is ahead of {names[worse]}, but behind under {wording.listing(where)}")
        if len(names) > 1:
            words = "; ".join(turned) if turned else "the order of the models is the same under every protocol"
            sentences.append(f"{label}: {words}.")
    return sentences


def _floats(values: Mapping[str, float | None]) -> dict[str, float]:
    return {metric: math.nan if values.get(metric) is None else float(values[metric] or 0) for metric in METRICS}
