"""Which of the masks of a case are empty, and what its metrics are then."""

from collections.abc import Mapping

import numpy as np

from nnunetv2_mamba.evaluation.metrics import METRICS, Counts, pooled
from nnunetv2_mamba.evaluation.protocol import Cell, Protocol


def cell_of(reference: float, prediction: float) -> Cell:
    """Which of the four cells a case is in, from how much there is in its reference and its prediction."""
    if not reference and not prediction:
        return "both_empty"
    if not reference:
        return "reference_empty"
    return "neither_empty" if prediction else "prediction_empty"


def metrics_of_case(counts: Counts, surface: Mapping[str, float], protocol: Protocol) -> dict[str, float]:
    """Every metric of one case, with the protocol's values in empty cells.

    Args:
        counts: of the case.
        surface: metrics that have no formula; those that are not in it are not defined.
        protocol: what they were counted by.
    """
    additive = pooled(counts, protocol)
    values = {name: float(additive.get(name, surface.get(name, np.nan))) for name in METRICS}
    cells = {"lesions": cell_of(counts["lesions"], counts["components"])}
    cells["voxels"] = cells["surface"] = cell_of(counts["TP"] + counts["FN"], counts["TP"] + counts["FP"])
    if protocol.missed_distance is not None and cells["surface"] in ("reference_empty", "prediction_empty"):
        values["HD95"] = protocol.missed_distance
    if cells["surface"] in ("reference_empty", "prediction_empty"):
        values["NSD"] = 0.0
    for name, cell, value in protocol.empty_values:
        if cells[METRICS[name].scope] == cell:
            values[name] = value
    return values


def require_known_metrics(protocol: Protocol) -> None:
    """Refuse a protocol with a value for what is no metric.

    Raises:
        ValueError: there is such a value.
    """
    if unknown := [name for name, _, _ in protocol.empty_values if name not in METRICS]:
        raise ValueError(f"empty_values names the metric {unknown[0]!r}, which is none of {', '.join(METRICS)}.")
