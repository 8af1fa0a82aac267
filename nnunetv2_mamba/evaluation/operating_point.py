"""From probabilities to lesions: a threshold and a smallest component for each target, fitted to an aim.

nnU-Net takes the most probable class of each voxel. Which threshold finds the most lesions for as many false positives,
and from which size on a component is worth showing, can be read off validated cases.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnunetv2_mamba.evaluation.case import Comparison, MaskPair, compare_pair
from nnunetv2_mamba.evaluation.components import label_components
from nnunetv2_mamba.evaluation.protocol import Connectivity, Protocol
from nnunetv2_mamba.evaluation.targets import Target

THRESHOLDS = (*(round(0.05 * step, 2) for step in range(1, 20)), 0.98, 0.99)
"""Probabilities among which a threshold is chosen."""

MOST_SIZES = 60
"""At most so many sizes are tried at a threshold, or a single component of the validation could decide."""


@dataclass(frozen=True)
class OperatingPoint:
    """How a target is read from its probability.

    Attributes:
        threshold: a voxel is predicted where the probability reaches it.
        smallest: size of the smallest component that is kept, in mm^3 (mm^2 in images, pixels where there are no mm).

    Raises:
        ValueError: the threshold is not in (0, 1], or the size is negative or not finite.
    """

    threshold: float = 0.5
    smallest: float = 0.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 0 < self.threshold <= 1:
            raise ValueError(f"the threshold of an operating point is {self.threshold}: give a probability above 0.")
        if not 0 <= self.smallest < math.inf:
            raise ValueError(f"the smallest component of an operating point is {self.smallest}: give 0 or more mm^3.")


@dataclass(frozen=True)
class Aim:
    """What an operating point is fitted to.

    Attributes:
        false_positives: highest number per case, at which the recall is as high as it can be; None for the highest
            lesion F1.
    """

    false_positives: float | None = None

    @classmethod
    def of_text(cls, text: str) -> "Aim":
        """``f1``, or ``recall@N`` with a number of false positives per case.

        Raises:
            ValueError: it is something else.
        """
        name, at, number = text.partition("@")
        try:
            if name == "f1" and not at:
                return cls()
            if name == "recall" and 0 <= float(number) < math.inf:
                return cls(float(number))
        except ValueError:
            pass
        raise ValueError(f"the aim {text!r} is not known: give f1, or recall@N with N false positives per case.")

    def __str__(self) -> str:
        """As `of_text` reads it."""
        return "f1" if self.false_positives is None else f"recall@{self.false_positives:g}"

    def score(self, counts: "Counts") -> float:
        """The higher, the better the aim is met."""
        if self.false_positives is None:
            return counts.f1
        if counts.false_positives > self.false_positives * counts.cases:
            return -counts.false_positives
        return counts.recall


@dataclass(frozen=True)
class Counts:
    """Lesions of some cases.

    Attributes:
        found: true positive lesions.
        lesions: of the reference.
        false_positives: components.
        cases: how many.
    """

    found: int
    lesions: int
    false_positives: int
    cases: int

    def __add__(self, other: "Counts") -> "Counts":
        """Of both together."""
        return Counts(*(mine + theirs for mine, theirs in zip(vars(self).values(), vars(other).values(), strict=True)))

    @property
    def recall(self) -> float:
        """Share of the lesions that is found; NaN without a lesion."""
        return self.found / self.lesions if self.lesions else math.nan

    @property
    def precision(self) -> float:
        """Share of what is found among all that is shown; NaN where nothing is."""
        shown = self.found + self.false_positives
        return self.found / shown if shown else math.nan

    @property
    def f1(self) -> float:
        """Harmonic mean of both; NaN where there is nothing at all."""
        total = self.found + self.lesions + self.false_positives
        return 2 * self.found / total if total else math.nan

    def as_dict(self) -> dict[str, Any]:
        """Counts and what follows from them, as JSON."""
        derived = {"recall": self.recall, "precision": self.precision, "f1": self.f1}
        kept = {name: None if math.isnan(value) else value for name, value in derived.items()}
        return vars(self) | {"false_positives_per_case": self.false_positives / max(self.cases, 1)} | kept


@dataclass(frozen=True)
class Detections:
    """A target of one case at one threshold.

    Attributes:
        lesions: size of each lesion (n,).
        found_by: size of the largest component that each lesion is found by (n,); -1 where it is missed.
        false_positives: size of each false positive component (m,).
    """

    lesions: np.ndarray
    found_by: np.ndarray
    false_positives: np.ndarray

    @classmethod
    def of_comparison(cls, comparison: Comparison) -> "Detections":
        """From two masks that were compared; what the protocol ignores counts for nothing."""
        sizes = {part.id: part.size for part in comparison.components}
        lesions = [part for part in comparison.lesions if part.status != "ignored"]
        found_by = [
            max((sizes[number] for number in lesion.matched), default=-1.0)
            if lesion.status == "true_positive"
            else -1.0
            for lesion in lesions
        ]
        false = [part.size for part in comparison.components if part.status == "false_positive"]
        return cls(np.array([part.size for part in lesions]), np.array(found_by), np.array(false))

    def counts(self, smallest: float) -> Counts:
        """Without the components that are smaller."""
        found = int(np.count_nonzero(self.found_by >= smallest))
        return Counts(found, len(self.lesions), int(np.count_nonzero(self.false_positives >= smallest)), 1)


def detections_by_threshold(
    probability: np.ndarray,
    reference: np.ndarray,
    spacing: Sequence[float],
    protocol: Protocol,
    ignored: np.ndarray | None = None,
) -> list[Detections]:
    """Detections of one case at each of `THRESHOLDS`.

    Args:
        probability: of the target (*spatial).
        reference: bool (*spatial).
        spacing: of the voxels in mm, one number for each axis.
        protocol: the rules.
        ignored: voxels (*spatial) that belong to neither mask.
    """
    masks = (probability >= threshold for threshold in THRESHOLDS)
    pairs = (MaskPair(reference, mask, spacing=spacing, ignored=ignored) for mask in masks)
    return [Detections.of_comparison(compare_pair(pair, protocol, distances=False)) for pair in pairs]


Table = Sequence[Detections]
"""Detections of a case at each of `THRESHOLDS`."""


def counts_at(tables: Sequence[Table], point: OperatingPoint) -> Counts:
    """Counts of cases at an operating point, whose threshold is one of `THRESHOLDS`."""
    position = THRESHOLDS.index(point.threshold)
    return sum((table[position].counts(point.smallest) for table in tables), Counts(0, 0, 0, 0))


def fit(tables: Sequence[Table], aim: Aim) -> OperatingPoint:
    """The operating point that meets the aim best in these cases.

    Of several, the one nearest to nnU-Net's own: the threshold nearest to 0.5, and then the smallest size.

    Args:
        tables: one for each case.
        aim: what counts.
    """
    best, best_rank = OperatingPoint(), (-math.inf, -math.inf, -math.inf)
    for position, threshold in enumerate(THRESHOLDS):
        found = np.sort(_joined(table[position].found_by for table in tables))
        false = np.sort(_joined(table[position].false_positives for table in tables))
        lesions = len(found)
        for smallest in _sizes(found, false):
            counts = Counts(
                lesions - int(np.searchsorted(found, smallest)),
                lesions,
                len(false) - int(np.searchsorted(false, smallest)),
                len(tables),
            )
            score = aim.score(counts)
            rank = (-math.inf if math.isnan(score) else score, -abs(threshold - 0.5), -smallest)
            if rank > best_rank:
                best, best_rank = OperatingPoint(threshold, smallest), rank
    return best


def counts_of_others(tables: Sequence[Table], groups: Sequence[Hashable], aim: Aim) -> Counts:
    """Counts of each group of cases at the point that is fitted to all other groups: what new cases can expect.

    Args:
        tables: one for each case.
        groups: of each case, such as its fold; two at least.
        aim: what counts.
    """
    total = Counts(0, 0, 0, 0)
    for group in dict.fromkeys(groups):
        others = [table for table, other in zip(tables, groups, strict=True) if other != group]
        own = [table for table, other in zip(tables, groups, strict=True) if other == group]
        total = total + counts_at(own, fit(others, aim))
    return total


def decide(
    probabilities: Mapping[str, np.ndarray],
    targets: Sequence[Target],
    points: Mapping[str, OperatingPoint],
    *,
    spacing: Sequence[float],
    painted: Sequence[int] | None = None,
    connectivity: Connectivity = "corners",
) -> np.ndarray:
    """The label map that operating points make of probabilities.

    A voxel that reaches the thresholds of several classes has the class whose probability exceeds its threshold by the
    largest factor. Regions are painted one over the other, in nnU-Net's order.

    Args:
        probabilities: of each target (*spatial).
        targets: labels, or regions.
        points: of each target.
        spacing: of the voxels in mm, one number for each axis.
        painted: label that each region is painted with (``regions_class_order`` of dataset.json); None for labels.
        connectivity: which voxels are neighbours.

    Returns:
        Labels (*spatial), 0 for the background.
    """
    excess = np.stack([probabilities[target.name] / points[target.name].threshold for target in targets])
    winner = excess.argmax(0)
    labels = np.zeros(winner.shape, dtype=np.int16)
    voxel = float(np.prod(spacing))
    for position, target in enumerate(targets):
        mask = excess[position] >= 1
        if painted is None:
            mask &= winner == position
        components, number = label_components(mask, connectivity)
        large = np.bincount(components.ravel(), minlength=number + 1) * voxel >= points[target.name].smallest
        large[0] = False
        labels[large[components]] = target.labels[0] if painted is None else painted[position]
    return labels


def _sizes(found: np.ndarray, false: np.ndarray) -> np.ndarray:
    """Sizes that are tried: zero, and those of the components."""
    sizes = np.unique(np.concatenate([found[found > 0], false]))
    if len(sizes) > MOST_SIZES:
        sizes = np.unique(np.quantile(sizes, np.linspace(0, 1, MOST_SIZES), method="nearest"))
    return np.concatenate([[0.0], sizes])


def _joined(arrays: Any) -> np.ndarray:
    return np.concatenate([np.zeros(0), *arrays])
