"""Lesions and components of two masks: their numbers, which belong together, and what each of them is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from nnunetv2_mamba.evaluation.components import label_components, label_lesions
from nnunetv2_mamba.evaluation.matching import Overlaps, candidates, matches, overlaps_between
from nnunetv2_mamba.evaluation.protocol import Protocol
from nnunetv2_mamba.evaluation.surface import SurfaceDistances, surfaces_of

Kind = Literal["lesion", "component"]


@dataclass(frozen=True, slots=True)
class Part:
    """A lesion of the reference, or a component of the prediction.

    Attributes:
        kind: ``lesion`` or ``component``.
        id: its number in the case, from 1.
        status: of a lesion ``true_positive``, ``missed`` or ``ignored``; of a component ``true_positive``,
            ``false_positive`` or ``ignored``.
        voxels: how many.
        size: in mm^3 (mm^2 in images, pixels where there are no mm).
        centre: mean of its voxels' indices, in the order of the array's axes.
        matched: numbers of the components (lesions) that it matches.
        dice: with all of these together; 0 without a match.
        iou: likewise.
        distance: in mm from its surface to the nearest surface of the other mask, 0 where they overlap; NaN where the
            other mask is empty or distances were not asked for.
        hd95: in mm, of a true positive lesion to the components that it matches; NaN where one of them matches other
            lesions too, unless the protocol scores this distance.
    """

    kind: Kind
    id: int
    status: str
    voxels: int
    size: float
    centre: tuple[float, ...]
    matched: tuple[int, ...]
    dice: float
    iou: float
    distance: float
    hd95: float


def count_parts(parts: Sequence[Part]) -> dict[str, float]:
    """Counts of lesions and components, see `metric.COUNTS`; ignored ones are left out."""
    detected, missed = ([p for p in parts if (p.kind, p.status) == ("lesion", s)] for s in ("true_positive", "missed"))
    true, false = (
        [p for p in parts if (p.kind, p.status) == ("component", s)] for s in ("true_positive", "false_positive")
    )
    return {
        "lesions": len(detected) + len(missed),
        "true_positive_lesions": len(detected),
        "components": len(true) + len(false),
        "true_positive_components": len(true),
        "missed_volume": sum(part.size for part in missed),
        "false_positive_volume": sum(part.size for part in false),
        "lesion_dice": sum(part.dice for part in detected),
        "lesion_hd95": sum(part.hd95 for part in detected if not math.isnan(part.hd95)),
    }


@dataclass(frozen=True)
class Side:
    """The parts of one mask.

    Attributes:
        kind: what they are.
        labels: number of the part at each voxel of the window (*spatial), 0 outside the mask.
        voxels: of each part (n + 1,), by number.
        centres: mean indices of each part's voxels in the image (n + 1, dimensions).
        small: whether a part is below the protocol's minimum size (n + 1,).
    """

    kind: Kind
    labels: np.ndarray
    voxels: np.ndarray
    centres: np.ndarray
    small: np.ndarray

    def __len__(self) -> int:
        """Number of parts."""
        return len(self.voxels) - 1


class MatchedParts:
    """Lesions and components within a window of two masks, matched by the protocol's rule.

    Args:
        reference: bool (*spatial).
        prediction: bool (*spatial).
        window: part of the image that contains both masks.
        spacing: of the voxels in mm, one number an axis.
        protocol: the rules.

    Attributes:
        lesions: of the reference.
        components: of the prediction.
        pairs: of a lesion and a component that match.
        window: part of the image that the labels are of.
    """

    def __init__(
        self,
        reference: np.ndarray,
        prediction: np.ndarray,
        *,
        window: tuple[slice, ...],
        spacing: tuple[float, ...],
        protocol: Protocol,
    ) -> None:
        self.window, self.shape, self._voxel_size = window, reference.shape, float(np.prod(spacing))
        labels, reach, number = label_lesions(
            reference[window],
            spacing=spacing,
            connectivity=protocol.connectivity,
            millimetres=protocol.dilation_mm,
            steps=protocol.dilation_steps,
        )
        self.lesions = self._side(
            "lesion", labels, number, min_voxels=protocol.min_lesion_voxels, min_size=protocol.min_lesion_size
        )
        labels, number = label_components(prediction[window], protocol.connectivity)
        self.components = self._side(
            "component", labels, number, min_voxels=protocol.min_component_voxels, min_size=protocol.min_component_size
        )
        self._all_touching = overlaps_between(
            lesions=self.lesions.labels,
            reach=reach,
            components=labels,
            lesion_voxels=self.lesions.voxels,
            component_voxels=self.components.voxels,
        )
        touching = self._all_touching.among(~self.components.small[self._all_touching.component])
        self.pairs = touching.among(self._matches(touching, protocol))
        self._spared = touching.component[candidates(touching, protocol) & protocol.spare_duplicates]

    def _matches(self, touching: Overlaps, protocol: Protocol) -> np.ndarray:
        """Which pairs match (K,); ignored lesions do not take a component from other lesions."""
        small = self.lesions.small[touching.lesion]
        if protocol.matching != "one_to_one" or not small.any():
            return matches(touching, protocol)
        chosen = np.zeros(len(small), dtype=bool)
        chosen[~small] = matches(touching.among(~small), protocol)
        left = small & ~np.isin(touching.component, touching.component[chosen])
        chosen[left] = matches(touching.among(left), protocol)
        return chosen

    def describe(self, between: "SurfacesBetween | None" = None, shared: bool = False) -> list[Part]:
        """Every lesion, then every component.

        Args:
            between: surfaces, to measure distances; None for none.
            shared: whether lesions that share a component have an HD95.
        """
        forth, back = between.gaps(self._all_touching) if between else (None, None)
        hd95 = between.hd95_of_lesions(self.pairs, shared) if between else {}
        pairs = self.pairs
        turned = Overlaps(lesion=pairs.component, component=pairs.lesion, voxels=pairs.voxels, iou=pairs.iou)
        lesions = _described(
            self.lesions, self.components, pairs=pairs, status=self._lesion_status(), gaps=forth, hd95=hd95,
            voxel_size=self._voxel_size,
        )  # fmt: skip
        components = _described(
            self.components, self.lesions, pairs=turned, status=self._component_status(), gaps=back, hd95={},
            voxel_size=self._voxel_size,
        )  # fmt: skip
        return lesions + components

    def in_image(self, side: Side) -> np.ndarray:
        """Number of the part at each voxel of the whole image (*spatial)."""
        whole = np.zeros(self.shape, dtype=side.labels.dtype)
        whole[self.window] = side.labels
        return whole

    def _side(self, kind: Kind, labels: np.ndarray, number: int, *, min_voxels: int, min_size: float) -> Side:
        # Only voxels of lesions are visited: a volume is mostly background.
        where = np.flatnonzero(labels > 0)
        part = labels.ravel()[where]
        voxels = np.bincount(part, minlength=number + 1)
        indices = np.unravel_index(where, labels.shape)
        sums = [np.bincount(part, weights=index, minlength=number + 1) for index in indices]
        centres = np.stack(sums, axis=1) / np.maximum(voxels, 1)[:, None] + [side.start for side in self.window]
        # A size that is meant to equal the minimum may differ by rounding.
        small = (voxels < min_voxels) | (voxels * self._voxel_size < min_size * (1 - 1e-9))
        return Side(kind=kind, labels=labels, voxels=voxels, centres=centres, small=small)

    def _lesion_status(self) -> np.ndarray:
        matched = np.isin(np.arange(len(self.lesions) + 1), self.pairs.lesion)
        return np.where(self.lesions.small, "ignored", np.where(matched, "true_positive", "missed"))

    def _component_status(self) -> np.ndarray:
        numbers = np.arange(len(self.components) + 1)
        true = np.isin(numbers, self.pairs.component[~self.lesions.small[self.pairs.lesion]])
        ignored = self.components.small | np.isin(numbers, self.pairs.component) | np.isin(numbers, self._spared)
        return np.where(true, "true_positive", np.where(ignored, "ignored", "false_positive"))


def _described(
    side: Side,
    other: Side,
    *,
    pairs: Overlaps,
    status: np.ndarray,
    gaps: np.ndarray | None,
    hd95: dict[int, float],
    voxel_size: float,
) -> list[Part]:
    """The parts of one mask; `pairs` names them as lesions."""
    both = np.bincount(pairs.lesion, weights=pairs.voxels, minlength=len(side) + 1)
    theirs = np.bincount(pairs.lesion, weights=other.voxels[pairs.component], minlength=len(side) + 1)
    order = np.lexsort((pairs.component, pairs.lesion))
    starts = np.searchsorted(pairs.lesion[order], np.arange(len(side) + 2))
    partners = pairs.component[order].tolist()
    together = side.voxels + theirs
    return [
        Part(
            kind=side.kind,
            id=number,
            status=str(status[number]),
            voxels=int(side.voxels[number]),
            size=float(side.voxels[number] * voxel_size),
            centre=tuple(side.centres[number].tolist()),
            matched=tuple(partners[starts[number] : starts[number + 1]]),
            dice=float(2 * both[number] / together[number]),
            iou=float(both[number] / (together[number] - both[number])),
            distance=np.nan if gaps is None or not np.isfinite(gaps[number]) else float(gaps[number]),
            hd95=hd95.get(number, np.nan),
        )
        for number in range(1, len(side) + 1)
    ]


class SurfacesBetween:
    """Distances between the surfaces of two masks and of their parts.

    Args:
        parts: lesions and components.
        spacing: of the voxels in mm, one number an axis.
    """

    def __init__(self, parts: MatchedParts, spacing: tuple[float, ...]) -> None:
        self._lesions, self._components = parts.lesions, parts.components
        self._reference, self._prediction = (
            surfaces_of(side.labels, spacing) for side in (parts.lesions, parts.components)
        )
        empty = not len(parts.lesions) or not len(parts.components)
        self._between = None if empty else SurfaceDistances.between(self._reference.whole, self._prediction.whole)

    def metrics(self, tolerance: float) -> dict[str, float]:
        """HD95 in mm and the normalised surface Dice of the masks; nothing where one is empty."""
        if self._between is None:
            return {}
        return {"HD95": self._between.hd95(), "NSD": self._between.surface_dice(tolerance)}

    def gaps(self, touching: Overlaps) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Distance in mm of each lesion, and of each component, to the other mask; 0 where they overlap."""
        if self._between is None:
            return None, None
        forth = self._reference.nearest(self._between.forth, len(self._lesions))
        back = self._prediction.nearest(self._between.back, len(self._components))
        overlap = touching.voxels > 0
        forth[touching.lesion[overlap]] = back[touching.component[overlap]] = 0.0
        return forth, back

    def hd95_of_lesions(self, pairs: Overlaps, shared: bool) -> dict[int, float]:
        """HD95 in mm of each lesion to the components that it matches.

        Args:
            pairs: that match.
            shared: whether lesions that share a component are measured. Their HD95 says little, and the surface of a
                component over all lesions would be measured once for each of them.
        """
        if not shared:
            several = np.bincount(pairs.component)[pairs.component] > 1
            pairs = pairs.among(~np.isin(pairs.lesion, pairs.lesion[several]))
        order = np.argsort(pairs.lesion, kind="stable")
        lesions, starts = np.unique(pairs.lesion[order], return_index=True)
        stops = np.append(starts, len(order))[1:]
        components = pairs.component[order]
        return {
            lesion: SurfaceDistances.between(
                self._reference.of([lesion]), self._prediction.of(components[start:stop])
            ).hd95()
            for lesion, start, stop in zip(lesions.tolist(), starts, stops, strict=True)
        }
