"""How far the conclusion moves under other protocols."""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from nnunetv2_mamba.report import wording
from nnunetv2_mamba.report.source import Source, nan_for_null
from nnunetv2_mamba.report.tables import Cell, Column, Table

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
        # One number alone has no range, and 0 would look like one that does not move.
        spread = wording.number(max(column) - min(column)) if len(column) > 1 else wording.DASH
        ranges.append(Cell(spread, f"of {len(column)} protocols" if 1 < len(column) < len(rows) else ""))
    return Table(columns, [*table, [Cell("range", "largest minus smallest"), *ranges]])


def empty_protocols(rows: Sequence[Row], names: Sequence[str], metrics: Mapping[str, Any]) -> str:
    """A sentence on the protocols under which there was nothing to count; nothing where there was under each."""
    words = []
    for metric in METRICS:
        models = [[name for name, values in rows if math.isnan(values[place][metric])] for place, _ in enumerate(names)]
        for protocols in dict.fromkeys(tuple(each) for each in models if each):
            of = [name for name, each in zip(names, models, strict=True) if tuple(each) == protocols]
            whose = "" if len(of) == len(names) else f" of {wording.listing(of)}"
            where = (
                "any protocol" if len(protocols) == len(rows) else wording.listing([*map(wording.quoted, protocols)])
            )
            words.append(f"{metrics[metric]['label']}{whose} under {where}")
    return f"Nothing was left to count for {'; '.join(words)}: ranges and orders are of the others." if words else ""


def flips(rows: Sequence[Row], names: Sequence[str], metrics: Mapping[str, Any]) -> list[str]:
    """One sentence for every pair of models and metric: whether another protocol would turn their order round."""
    sentences = []
    for metric in METRICS:
        label = metrics[metric]["label"]
        turned = []
        for first, second in combinations(range(len(names)), 2):
            own = rows[0][1][first][metric] - rows[0][1][second][metric]
            where = [
                wording.quoted(name)
                for name, values in rows[1:]
                if own * (values[first][metric] - values[second][metric]) < 0
            ]
            if where:
                better, worse = (first, second) if own > 0 else (second, first)
                turned.append(f"{names[better]} is ahead of {names[worse]}, but behind under {wording.listing(where)}")
        if len(names) > 1:
            words = "; ".join(turned) if turned else "no protocol turns the order of the models round"
            sentences.append(f"{label}: {words}.")
    return sentences


def _floats(values: Mapping[str, float | None]) -> dict[str, float]:
    return {metric: nan_for_null(values.get(metric)) for metric in METRICS}
