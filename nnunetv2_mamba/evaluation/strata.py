"""Groups of lesions, or of images, by size."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnunetv2_mamba.evaluation.metric import COUNTS, Counts
from nnunetv2_mamba.evaluation.metrics import METRICS, pooled
from nnunetv2_mamba.evaluation.parts import Part, count_parts
from nnunetv2_mamba.evaluation.protocol import Protocol, Strata


def bounds_of(strata: Strata, sizes: np.ndarray) -> list[float]:
    """Largest size in each group but the last.

    Args:
        strata: the groups.
        sizes: of the reference lesions, or of the images that have lesions.

    Returns:
        One number for each bound; NaN for quantiles without a lesion.
    """
    if strata.by != "quantiles":
        return list(strata.bounds)
    return np.quantile(sizes, strata.bounds).tolist() if len(sizes) else [np.nan] * len(strata.bounds)


def lesion_strata(parts: Sequence[Part], cases: int, protocol: Protocol) -> list[dict[str, Any]]:
    """Lesion-wise metrics of each group.

    A lesion belongs to the group of its own size, and so does a component. Recall is that of lesions of this size,
    precision that of components of this size, whatever the size of their matches.

    Args:
        parts: lesions and components of all cases; ignored ones are left out.
        cases: number of cases.
        protocol: the rules.
    """
    strata = protocol.strata
    parts = [part for part in parts if part.status != "ignored"]
    sizes = np.array([_size(part, strata) for part in parts])
    is_lesion = np.array([part.kind == "lesion" for part in parts], dtype=bool)
    bounds = bounds_of(strata, sizes[is_lesion])
    group = _groups(bounds, sizes)
    entries = []
    for number, (name, upper) in enumerate(zip(strata.names, [*bounds, None], strict=True)):
        members = [part for part, mine in zip(parts, group, strict=True) if mine == number]
        counts = {"cases": cases} | count_parts(members)
        values = {
            key: float(metric.formula(counts, protocol))
            for key, metric in METRICS.items()
            if metric.scope == "lesions" and metric.formula and metric.by_size
        }
        entries.append({"name": name, "upper": upper, "counts": counts, "metrics": values})
    return entries


def image_strata(cases: Sequence[Counts], protocol: Protocol, voxel_sizes: Sequence[float]) -> list[dict[str, Any]]:
    """Metrics of each group of images; images without a lesion belong to no group.

    Args:
        cases: counts of each case.
        protocol: the rules.
        voxel_sizes: of each case, in mm^3.
    """
    strata = protocol.strata
    sizes = np.array([_image_size(counts, size, strata) for counts, size in zip(cases, voxel_sizes, strict=True)])
    bounds = bounds_of(strata, sizes[sizes > 0])
    group = np.where(sizes > 0, _groups(bounds, sizes), -1)
    entries = []
    for number, (name, upper) in enumerate(zip(strata.names, [*bounds, None], strict=True)):
        counts = add_up([counts for counts, mine in zip(cases, group, strict=True) if mine == number])
        values = {key: float(value) for key, value in pooled(counts, protocol).items()}
        entries.append({"name": name, "upper": upper, "counts": counts, "metrics": values})
    return entries


def add_up(counts: Sequence[Counts]) -> dict[str, Any]:
    """Sums of counts over cases; zeros for no case."""
    return {name: sum(case[name] for case in counts) for name in COUNTS}


def _groups(bounds: Sequence[float], sizes: np.ndarray) -> np.ndarray:
    """Index of the group of each size; a size that is meant to equal a bound may differ by rounding."""
    limits = np.asarray(bounds) * (1 + 1e-9)
    # Quantiles of no lesion define no group.
    return np.full(len(sizes), -1) if np.isnan(limits).any() else np.searchsorted(limits, sizes, side="left")


def _size(part: Part, strata: Strata) -> float:
    return part.voxels if strata.by == "voxels" else part.size


def _image_size(counts: Counts, voxel_size: float, strata: Strata) -> float:
    voxels = counts["TP"] + counts["FN"]
    return voxels if strata.by == "voxels" else voxels * voxel_size
