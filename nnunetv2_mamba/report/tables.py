"""Tables as texts that the page only has to set."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from nnunetv2_mamba.report import wording
from nnunetv2_mamba.report.scores import Over, Result
from nnunetv2_mamba.report.statistics import MIN_CASES, Estimate

NO_INTERVAL = "†"
OVER: dict[Over, str] = {"pooled": "all cases together", "mean": "mean of cases"}


@dataclass(frozen=True)
class Column:
    """Head of a column.

    Attributes:
        label: what it says.
        note: a second, smaller line.
        model: place of the model whose column it is.
        text: whether it holds words rather than numbers.
    """

    label: str
    note: str = ""
    model: int | None = None
    text: bool = False


@dataclass(frozen=True)
class Cell:
    """A field of a table.

    Attributes:
        text: what it says.
        note: a second, smaller line.
        best: whether it is the best of its kind.
        model: place of the model that it names.
        cases: how many cases it is of, a third line; only where that is not the same throughout.
    """

    text: str
    note: str = ""
    best: bool = False
    model: int | None = None
    cases: str = ""


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        columns: heads; the first column names the rows.
        rows: fields, the first of which is the name of the row.
        notes: sentences below.
        anchors: name of the place on the page of each row; none where empty.
    """

    columns: list[Column]
    rows: list[list[Cell]]
    notes: list[str] = field(default_factory=list)
    anchors: list[str] = field(default_factory=list)


def model_cell(result: Result) -> Cell:
    """The name of a model."""
    return Cell(result.name, model=result.place)


def estimate_cell(estimate: Estimate, best: bool = False, cases: int | None = None) -> Cell:
    """A value with its interval below, or with a mark where there is none.

    Args:
        estimate: the value.
        best: whether it is the best of its kind.
        cases: how many it is of, where the cases of others differ.
    """
    mark = "" if math.isnan(estimate.value) else NO_INTERVAL
    of = "" if cases is None else f"n\u00a0=\u00a0{cases:,}"
    return Cell(wording.number(estimate.value), wording.interval(estimate) or mark, best, cases=of)


def cases_of(result: Result, metric: str, over: Over) -> frozenset[str]:
    """Names of the cases that a number is of: all that are pooled, or those in the mean."""
    names = np.array(result.cases.names, dtype=object)
    return frozenset(names if over == "pooled" else names[result.scores.bears(metric)])


def interval_notes(estimates: Sequence[Estimate]) -> list[str]:
    """What the mark of a missing interval means; nothing where none is missing."""
    if not any(not estimate.has_interval and math.isfinite(estimate.value) for estimate in estimates):
        return []
    few = f"fewer than {MIN_CASES} cases (or patients, where these are drawn) bear on it"
    return [f"{NO_INTERVAL} no interval: {few}, or all are alike."]
