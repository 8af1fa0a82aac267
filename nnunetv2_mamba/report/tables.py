"""Tables as texts, ready for the page."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from nnunetv2_mamba.evaluation.metric import Over
from nnunetv2_mamba.report import wording
from nnunetv2_mamba.report.scores import ModelResult
from nnunetv2_mamba.report.statistics import MIN_CASES, Estimate

NO_INTERVAL = "†"
OVER: dict[Over, str] = {"pooled": "all cases together", "mean": "mean of cases"}


@dataclass(frozen=True)
class Column:
    """Head of a column.

    Attributes:
        label: first line.
        note: second line, smaller.
        model: index of the model of the column.
        text: whether the column contains words instead of numbers.
    """

    label: str
    note: str = ""
    model: int | None = None
    text: bool = False


@dataclass(frozen=True)
class TableCell:
    """A field of a table.

    Attributes:
        text: first line.
        note: second line, smaller.
        best: whether it is the best value of its column.
        model: index of the model that it names.
        cases: third line, number of cases; only where it differs between models.
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
        rows: of fields.
        notes: sentences below the table.
    """

    columns: list[Column]
    rows: list[list[TableCell]]
    notes: list[str] = field(default_factory=list)


def model_cell(result: ModelResult) -> TableCell:
    """The name of a model."""
    return TableCell(result.name, model=result.place)


def estimate_cell(estimate: Estimate, best: bool = False, cases: int | None = None) -> TableCell:
    """A value with its interval below, or with a mark where there is none.

    Args:
        estimate: the value.
        best: whether it is the best value of its column.
        cases: number of cases, where it differs between models.
    """
    mark = "" if math.isnan(estimate.value) else NO_INTERVAL
    number = "" if cases is None else f"n\u00a0=\u00a0{cases:,}"
    note = wording.interval(estimate) or mark
    return TableCell(wording.number(estimate.value), note=note, best=best, cases=number)


def interval_notes(estimates: Sequence[Estimate]) -> list[str]:
    """Explains the mark of a missing interval; empty where no interval is missing."""
    if all(estimate.has_interval or math.isnan(estimate.value) for estimate in estimates):
        return []
    return [f"{NO_INTERVAL} no interval: fewer than {MIN_CASES} cases (or patients) have a value, or all are alike."]
