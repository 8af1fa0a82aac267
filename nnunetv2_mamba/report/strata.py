"""The protocol's groups by size, as a table."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nnunetv2_mamba.report import wording
from nnunetv2_mamba.report.reported_model import nan_for_null
from nnunetv2_mamba.report.scores import ModelResult
from nnunetv2_mamba.report.sizes import recall_of
from nnunetv2_mamba.report.statistics import Estimate
from nnunetv2_mamba.report.tables import Column, Table, TableCell, estimate_cell, interval_notes, model_cell
from nnunetv2_mamba.report.wording import with_arrow


def strata_table(results: Sequence[ModelResult], protocol: Mapping[str, Any], size_unit: str) -> Table:
    """Recall, precision and false positives by size; recall of lesions with its interval.

    A model on other cases may have other bounds; therefore each model has its own rows.
    """
    by_voxels, of_lesions = protocol["strata"]["by"] == "voxels", protocol["strata"]["level"] == "lesion"
    measure = "voxels" if by_voxels else size_unit
    columns = [
        Column("model", text=True),
        Column("lesions" if of_lesions else "images", text=True),
        Column("true positives"),
        Column(with_arrow("recall", "higher")),
        Column(with_arrow("precision", "higher"), "of components of this size" if of_lesions else ""),
        Column(with_arrow("false positives per case", "lower")),
    ]
    rows, estimates = [], []
    names = list(protocol["strata"]["names"])
    for index, name in enumerate(names):
        for result in results:
            entry = result.entry["strata"][index]
            lower = result.entry["strata"][index - 1]["upper"] if index else None
            recall = Estimate(
                value=nan_for_null(entry["metrics"]["lesion_recall"]), low=math.nan, high=math.nan, cases=0
            )
            if of_lesions:
                sizes = result.lesions.voxels if by_voxels else result.lesions.sizes
                inside = _between(sizes, lower, entry["upper"])
                recall = recall_of(result.lesions, inside, cases=result.cases.names, resampling=result.resampling)
            estimates.append(recall)
            row = [
                model_cell(result),
                TableCell(name, _range(lower, entry["upper"], measure)),
                TableCell(f"{entry['counts']['true_positive_lesions']:,} of {entry['counts']['lesions']:,}"),
                estimate_cell(recall),
                TableCell(wording.number(entry["metrics"]["lesion_precision"])),
                TableCell(wording.number(entry["metrics"]["fp_per_case"])),
            ]
            rows.append(row)
    return Table(columns, rows, interval_notes(estimates))


def _between(sizes: np.ndarray, low: float | None, high: float | None) -> np.ndarray:
    """Which sizes (lesions,) are above `low` and at most `high`; sizes that a file has rounded count as equal."""
    margin = 1 + 1e-5
    above = np.ones(len(sizes), dtype=bool) if low is None else sizes > low * margin
    return above if high is None else above & (sizes <= high * margin)


def _range(low: float | None, high: float | None, measure: str) -> str:
    if high is None:
        return "" if low is None else f"above {wording.measured(low, measure)}"
    words = wording.measured(high, measure)
    return f"up to {words}" if low is None else f"{wording.measured(low)} to {words}"
