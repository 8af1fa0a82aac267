"""Summary of all cases: a mapping that JSON can hold, the content of ``lesion_summary.json``."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import numpy as np

from nnunetv2_mamba.evaluation.froc import THRESHOLDS
from nnunetv2_mamba.evaluation.metric import false_positives, ratio
from nnunetv2_mamba.evaluation.metrics import METRICS, pooled
from nnunetv2_mamba.evaluation.parts import Part
from nnunetv2_mamba.evaluation.protocol import Emptiness, Protocol
from nnunetv2_mamba.evaluation.strata import add_up, image_strata, lesion_strata
from nnunetv2_mamba.evaluation.targets import Target


def summarise_target(
    target: Target, cases: Sequence[Mapping[str, Any]], parts: Sequence[Part], protocol: Protocol
) -> dict[str, Any]:
    """Pooled and mean metrics, empty cases, lesion-free cases, strata and free-response ROC of one target.

    Args:
        target: label or region.
        cases: of each case its ``cell``, ``counts`` and ``metrics`` of this target, and ``voxel_size`` in mm^3.
        parts: lesions and components of all cases.
        protocol: the rules.
    """
    cells = Counter(case["cell"] for case in cases)
    values = {name: np.array([case["metrics"][name] for case in cases], dtype=float) for name in METRICS}
    defined = {name: int(np.isfinite(column).sum()) for name, column in values.items()}
    counts = [case["counts"] for case in cases]
    total = add_up(counts)
    if protocol.strata.level == "lesion":
        strata = lesion_strata(parts, len(cases), protocol)
    else:
        strata = image_strata(counts, protocol, [case["voxel_size"] for case in cases])
    return {
        "labels": list(target.labels),
        "counts": total,
        "cells": {cell: cells[cell] for cell in get_args(Emptiness)},
        "pooled": {name: float(value) for name, value in pooled(total, protocol).items()},
        "mean": {name: float(np.nanmean(column)) if defined[name] else math.nan for name, column in values.items()},
        "defined": defined,
        "lesion_free": _lesion_free(cases),
        "strata": strata,
        "froc": _froc([case["froc"] for case in cases if case.get("froc")]),
    }


def _lesion_free(cases: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """False positives in the cases without a lesion."""
    free = [case["counts"] for case in cases if case["cell"] in ("both_empty", "reference_empty")]
    total = add_up(free)
    with_false_positives = sum(false_positives(case) > 0 for case in free)
    return {
        "cases": len(free),
        "with_false_positives": with_false_positives,
        "specificity": float(ratio(len(free) - with_false_positives, len(free))),
        "fp_per_case": float(ratio(false_positives(total), len(free))),
        "fp_volume_per_case": float(ratio(total["false_positive_volume"], len(free))),
    }


def _froc(cases: Sequence[Sequence[Mapping[str, float]]]) -> dict[str, Any] | None:
    if not cases:
        return None
    totals = [add_up(at_threshold) for at_threshold in zip(*cases, strict=True)]
    values = [pooled(total) for total in totals]
    return {
        "cases": len(cases),
        "thresholds": list(THRESHOLDS),
        "lesion_recall": [float(value["lesion_recall"]) for value in values],
        "fp_per_case": [float(value["fp_per_case"]) for value in values],
        **{name: [total[name] for total in totals] for name in ("true_positive_lesions", "true_positive_components")},
    }


def sensitivity_of(
    protocols: Sequence[Protocol], targets: Sequence[Target], counts: Sequence[Mapping[str, Sequence[Mapping]]]
) -> list[dict[str, Any]]:
    """Lesion-wise metrics of all cases together under several protocols.

    Args:
        protocols: the rules.
        targets: labels and regions.
        counts: of each case, by target, one entry for each protocol.
    """
    entries = []
    for position, protocol in enumerate(protocols):
        results = {}
        for target in targets:
            values = pooled(add_up([case[target.name][position] for case in counts]), protocol)
            # Distances are not measured for other protocols.
            counted = [m.name for m in METRICS.values() if m.scope == "lesions" and not m.measures_surface]
            results[target.name] = {"pooled": {name: float(values[name]) for name in counted}}
        entries.append({"protocol": protocol.as_dict(), "protocol_hash": protocol.hash, "targets": results})
    return entries


def jsonable(value: Any) -> Any:
    """A copy with None for every number that is not finite: JSON cannot hold those."""
    if isinstance(value, Mapping):
        return {str(key): jsonable(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(entry) for entry in value]
    if isinstance(value, (np.floating, np.integer)):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
