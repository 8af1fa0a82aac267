"""What all cases together say: one JSON-able mapping, the content of ``lesion_summary.json``."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import numpy as np

from nnunetv2_mamba.evaluation.froc import THRESHOLDS
from nnunetv2_mamba.evaluation.metrics import METRICS, pooled, ratio
from nnunetv2_mamba.evaluation.parts import Part
from nnunetv2_mamba.evaluation.protocol import Cell, Protocol
from nnunetv2_mamba.evaluation.strata import add_up, image_strata, lesion_strata
from nnunetv2_mamba.evaluation.targets import Target


def summarise_target(
    target: Target, cases: Sequence[Mapping[str, Any]], parts: Sequence[Part], protocol: Protocol
) -> dict[str, Any]:
    """Pooled and mean metrics, empty cells, lesion-free cases, strata and FROC of one target.

    Args:
        target: what is summarised.
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
        "cells": {cell: cells[cell] for cell in get_args(Cell)},
        "pooled": {name: float(value) for name, value in pooled(total, protocol).items()},
        "mean": {name: float(np.nanmean(column)) if defined[name] else math.nan for name, column in values.items()},
        "defined": defined,
        "lesion_free": _lesion_free(cases),
        "strata": strata,
        "froc": _froc([case["froc"] for case in cases if case.get("froc")]),
    }


def _lesion_free(cases: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How often something is predicted where there is nothing."""
    free = [case["counts"] for case in cases if case["cell"] in ("both_empty", "reference_empty")]
    total = add_up(free)
    with_inventions = sum(case["components"] > case["right"] for case in free)
    return {
        "cases": len(free),
        "with_inventions": with_inventions,
        "specificity": float(ratio(len(free) - with_inventions, len(free))),
        "fp_per_case": float(ratio(total["components"] - total["right"], len(free))),
        "fp_volume_per_case": float(ratio(total["invented_volume"], len(free))),
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
        "found": [total["found"] for total in totals],
        "right": [total["right"] for total in totals],
    }


def sensitivity_of(
    protocols: Sequence[Protocol], targets: Sequence[Target], counts: Sequence[Mapping[str, Sequence[Mapping]]]
) -> list[dict[str, Any]]:
    """Lesion-wise metrics of all cases together under each of several protocols.

    Args:
        protocols: the rules.
        targets: what is evaluated.
        counts: for each case, by target, the counts under each protocol.
    """
    entries = []
    for position, protocol in enumerate(protocols):
        results = {}
        for target in targets:
            values = pooled(add_up([case[target.name][position] for case in counts]), protocol)
            lesion_wise = {name: float(value) for name, value in values.items() if METRICS[name].scope == "lesions"}
            # These runs measure no distances.
            del lesion_wise["lesionwise_hd95"]
            results[target.name] = {"pooled": lesion_wise}
        entries.append({"protocol": protocol.as_dict(), "protocol_hash": protocol.hash, "targets": results})
    return entries


def jsonable(value: Any) -> Any:
    """The same with None for every number that is not finite, which JSON has no word for."""
    if isinstance(value, Mapping):
        return {str(key): jsonable(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(entry) for entry in value]
    if isinstance(value, (np.floating, np.integer)):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
