"""One target of one case: its lesions and components, their counts and its metrics."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnunetv2_mamba.evaluation.emptiness import emptiness_of, metrics_of_case, require_known_metrics
from nnunetv2_mamba.evaluation.parts import MatchedParts, Part, SurfacesBetween, count_parts
from nnunetv2_mamba.evaluation.protocol import Emptiness, Protocol


@dataclass(frozen=True)
class Comparison:
    """Result of the comparison of two masks.

    Attributes:
        emptiness: which of the masks are empty.
        counts: see `metric.COUNTS`.
        metrics: see `metrics.METRICS`; NaN where not defined.
        parts: every lesion, then every component.
        matched: the numbered lesions and components.
    """

    emptiness: Emptiness
    counts: dict[str, float]
    metrics: dict[str, float]
    parts: list[Part]
    matched: MatchedParts

    @property
    def lesions(self) -> list[Part]:
        """Lesions of the reference."""
        return [part for part in self.parts if part.kind == "lesion"]

    @property
    def components(self) -> list[Part]:
        """Components of the prediction."""
        return [part for part in self.parts if part.kind == "component"]

    @property
    def lesion_labels(self) -> np.ndarray:
        """Number of the lesion at each voxel of the image (*spatial), 0 outside."""
        return self.matched.in_image(self.matched.lesions)

    @property
    def component_labels(self) -> np.ndarray:
        """Number of the component at each voxel of the image (*spatial), 0 outside."""
        return self.matched.in_image(self.matched.components)


class MaskPair:
    """Two masks on the same grid, with everything that does not depend on the protocol.

    Args:
        reference: bool (*spatial), 2-D or 3-D.
        prediction: bool (*spatial).
        spacing: of the voxels in mm, one number an axis.
        ignored: voxels (*spatial) that belong to neither mask.

    Raises:
        ValueError: shapes or numbers of axes differ.
    """

    def __init__(
        self, reference: np.ndarray, prediction: np.ndarray, spacing: Sequence[float], ignored: np.ndarray | None = None
    ) -> None:
        masks = [reference, prediction, *([] if ignored is None else [ignored])]
        if any(mask.dtype != bool for mask in masks):
            kinds = " and ".join(str(mask.dtype) for mask in masks)
            raise ValueError(f"masks must be bool, not {kinds}: give segmentation == 1 for the label 1.")
        if not all(math.isfinite(width) and width > 0 for width in spacing):
            raise ValueError(
                f"a spacing of {tuple(spacing)} is not possible: give one positive number in mm for each axis."
            )
        if reference.shape != prediction.shape or len(spacing) != reference.ndim or reference.ndim not in (2, 3):
            raise ValueError(
                f"masks of {reference.shape} and {prediction.shape} voxels with the spacing {tuple(spacing)} cannot be "
                "compared: give two of the same shape, 2-D or 3-D, and one number for each axis."
            )
        self.spacing = tuple(float(width) for width in spacing)
        self.voxel_size = float(np.prod(self.spacing))
        total = reference.size
        if ignored is not None and ignored.any():
            reference, prediction = reference & ~ignored, prediction & ~ignored
            total -= int(np.count_nonzero(ignored))
        self.reference, self.prediction = reference, prediction
        # A dilation needs no margin: two lesions that touch outside the box also touch along its rim.
        self.window = _bounding_box(reference | prediction)
        reference, prediction = reference[self.window], prediction[self.window]
        voxels = [int(np.count_nonzero(mask)) for mask in (reference, prediction)]
        both = int(np.count_nonzero(reference & prediction))
        volumes = [count * self.voxel_size for count in voxels]
        self.emptiness = emptiness_of(*voxels)
        self.counts: dict[str, float] = {
            "cases": 1,
            "TP": both,
            "FP": voxels[1] - both,
            "FN": voxels[0] - both,
            "TN": total - voxels[0] - voxels[1] + both,
            "reference_volume": volumes[0],
            "predicted_volume": volumes[1],
            "volume_error": abs(volumes[1] - volumes[0]),
        }


def compare(
    reference: np.ndarray,
    prediction: np.ndarray,
    spacing: Sequence[float],
    protocol: Protocol | None = None,
    ignored: np.ndarray | None = None,
) -> Comparison:
    """Compare a predicted mask with its reference.

    Args:
        reference: bool (*spatial), 2-D or 3-D.
        prediction: bool (*spatial).
        spacing: of the voxels in mm, one number an axis.
        protocol: the rules; the default ones unless given.
        ignored: voxels (*spatial) that belong to neither mask.

    Raises:
        ValueError: shapes or numbers of axes differ.
    """
    require_known_metrics(protocol or Protocol())
    pair = MaskPair(reference, prediction, spacing=spacing, ignored=ignored)
    return compare_pair(pair, protocol or Protocol())


def compare_pair(pair: MaskPair, protocol: Protocol, distances: bool = True) -> Comparison:
    """Compare masks that may be compared under several protocols.

    Args:
        pair: the masks.
        protocol: the rules.
        distances: whether to measure distances between surfaces; they take most of the time.
    """
    matched = MatchedParts(pair.reference, pair.prediction, window=pair.window, spacing=pair.spacing, protocol=protocol)
    between = SurfacesBetween(matched, pair.spacing) if distances and pair.emptiness != "both_empty" else None
    parts = matched.describe(between, shared=protocol.missed_distance is not None)
    counts = pair.counts | count_parts(parts)
    counts["lesion_count_error"] = abs(counts["components"] - counts["lesions"])
    surface = {} if between is None else between.metrics(protocol.surface_tolerance)
    return Comparison(
        emptiness=pair.emptiness,
        counts=counts,
        metrics=metrics_of_case(counts, surface, protocol),
        parts=parts,
        matched=matched,
    )


def _bounding_box(mask: np.ndarray) -> tuple[slice, ...]:
    """The smallest box that contains all voxels of a mask; the first voxel of an empty mask."""
    last = mask.reshape(-1, mask.shape[-1]).any(axis=0)
    others = mask.any(axis=-1)
    sides = [others.any(axis=tuple({*range(others.ndim)} - {axis})) for axis in range(others.ndim)]
    ranges = [np.flatnonzero(side) for side in [*sides, last]]
    return tuple(slice(int(there[0]), int(there[-1]) + 1) if len(there) else slice(0, 1) for there in ranges)
