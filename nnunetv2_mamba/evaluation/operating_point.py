"""From probabilities to lesions: a threshold and a smallest component for each target, fitted to an aim.

nnU-Net takes the most probable class of each voxel. Which threshold finds the most lesions for as many false positives,
and from which size on a component is worth showing, can be read off validated cases.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnunetv2_mamba.evaluation.case import Comparison
from nnunetv2_mamba.evaluation.components import label_components
from nnunetv2_mamba.evaluation.metrics import METRICS
from nnunetv2_mamba.evaluation.protocol import Connectivity, Protocol
from nnunetv2_mamba.evaluation.targets import Target

THRESHOLDS = (*(round(0.05 * step, 2) for step in range(1, 20)), 0.98, 0.99)
"""Probabilities among which a threshold is chosen."""

SHOWN = ("lesion_recall", "lesion_precision", "lesion_f1", "fp_per_case")
"""Metrics that say what an operating point does."""

ABOVE, TOLERANCE = 1 + 1e-4, 1 - 1e-6
"""A limit lies a little above the size that it excludes; a size that is meant to equal it may differ by rounding."""

MOST_SIZES = 60
"""At most so many sizes are tried at a threshold, or a single component of the validation could decide."""


@dataclass(frozen=True)
class OperatingPoint:
    """How a target is read from its probability.

    Attributes:
        threshold: a voxel is predicted where the probability reaches it.
        min_component_size: size of the smallest component that is kept, in mm^3 (mm^2 in images, pixels where there are
            no mm).

    Raises:
        ValueError: the threshold is not in (0, 1], or the size is negative or not finite.
    """

    threshold: float = 0.5
    min_component_size: float = 0.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 0 < self.threshold <= 1:
            raise ValueError(f"the threshold of an operating point is {self.threshold}: give a probability above 0.")
        if not 0 <= self.min_component_size < math.inf:
            raise ValueError(
                f"the min_component_size of an operating point is {self.min_component_size}: give 0 or more mm^3."
            )


@dataclass(frozen=True)
class OperatingPoints:
    """How all targets of a dataset are read from their probabilities.

    Attributes:
        points: of each target, by its name.
        connectivity: which voxels are neighbours in a component.
        regions_class_order: label that each region is painted with, as in dataset.json; None where targets are labels.
    """

    points: Mapping[str, OperatingPoint]
    connectivity: Connectivity = "corners"
    regions_class_order: Sequence[int] | None = None

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        return vars(self) | {"points": {name: vars(point) for name, point in self.points.items()}}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "OperatingPoints":
        """From what `as_dict` has made."""
        points = {name: OperatingPoint(**point) for name, point in content["points"].items()}
        return cls(**{**content, "points": points})


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

    def score(self, counts: "Counts", protocol: Protocol) -> float:
        """The higher, the better the aim is met; NaN where nothing can be said."""
        if self.false_positives is None:
            return counts.metric("lesion_f1", protocol)
        false = counts.metric("fp_per_case", protocol)
        return -false if false > self.false_positives else counts.metric("lesion_recall", protocol)


@dataclass(frozen=True)
class Counts:
    """Lesions of some cases, as `metric.COUNTS` has them.

    Attributes:
        cases: how many.
        lesions: of the reference.
        true_positive_lesions: of these, the ones that match a component.
        components: of the prediction.
        true_positive_components: of these, the ones that match a lesion.
    """

    cases: int = 0
    lesions: int = 0
    true_positive_lesions: int = 0
    components: int = 0
    true_positive_components: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        """Of both together."""
        return Counts(*(mine + theirs for mine, theirs in zip(vars(self).values(), vars(other).values(), strict=True)))

    def metric(self, name: str, protocol: Protocol) -> float:
        """One of `metrics.METRICS` that these counts decide; NaN where it is not defined."""
        formula = METRICS[name].formula
        assert formula is not None
        return float(formula(vars(self), protocol))

    def as_dict(self, protocol: Protocol) -> dict[str, Any]:
        """Counts and metrics, as JSON."""
        metrics = {name: self.metric(name, protocol) for name in SHOWN}
        return vars(self) | {name: None if math.isnan(value) else value for name, value in metrics.items()}


@dataclass(frozen=True)
class Detections:
    """A target of one case at one threshold.

    Attributes:
        lesions: size of each lesion (n,).
        largest_match: size of the largest component that each lesion is found by (n,); -1 where it is missed.
        true_positives: size of each component that matches a lesion.
        false_positives: size of each component that matches none.
    """

    lesions: np.ndarray
    largest_match: np.ndarray
    true_positives: np.ndarray
    false_positives: np.ndarray

    @classmethod
    def of_comparison(cls, comparison: Comparison) -> "Detections":
        """From two masks that were compared; what the protocol ignores counts for nothing."""
        sizes = {part.id: part.size for part in comparison.components}
        lesions = [part for part in comparison.lesions if part.status != "ignored"]
        largest_match = [
            max((sizes[number] for number in lesion.matched), default=-1.0)
            if lesion.status == "true_positive"
            else -1.0
            for lesion in lesions
        ]
        right, wrong = (
            np.array([part.size for part in comparison.components if part.status == status])
            for status in ("true_positive", "false_positive")
        )
        return cls(np.array([part.size for part in lesions]), np.array(largest_match), right, wrong)

    def without_small(self, min_component_size: float) -> "Detections":
        """Without the components that are smaller."""
        limit = min_component_size * TOLERANCE
        kept = (sizes[sizes >= limit] for sizes in (self.true_positives, self.false_positives))
        return Detections(self.lesions, np.where(self.largest_match >= limit, self.largest_match, -1.0), *kept)

    def counts(self, min_component_size: float) -> Counts:
        """Without the components that are smaller."""
        found, right, wrong = (
            int(np.count_nonzero(sizes >= min_component_size * TOLERANCE))
            for sizes in (self.largest_match, self.true_positives, self.false_positives)
        )
        return Counts(1, len(self.lesions), found, right + wrong, right)


Table = Sequence[Detections]
"""Detections of a case at each of `THRESHOLDS`."""


def fit(tables: Sequence[Table], aim: Aim, protocol: Protocol) -> OperatingPoint:
    """The operating point that meets the aim best in these cases.

    Of several, the one nearest to nnU-Net's own: the threshold nearest to 0.5, and then the smallest size limit.

    Args:
        tables: one for each case.
        aim: what counts.
        protocol: the rules.
    """
    best, best_rank = OperatingPoint(), (-math.inf, -math.inf, -math.inf)
    for position, threshold in enumerate(THRESHOLDS):
        at = [table[position] for table in tables]
        found, right, wrong = (
            np.sort(np.concatenate([np.zeros(0), *(getattr(one, name) for one in at)]))
            for name in ("largest_match", "true_positives", "false_positives")
        )
        for limit in _limits(np.concatenate([right, wrong])):
            kept, true, false = (
                len(sizes) - int(np.searchsorted(sizes, limit * TOLERANCE)) for sizes in (found, right, wrong)
            )
            score = aim.score(Counts(len(tables), len(found), kept, true + false, true), protocol)
            rank = (-math.inf if math.isnan(score) else score, -abs(threshold - 0.5), -limit)
            if rank > best_rank:
                best, best_rank = OperatingPoint(threshold, float(limit)), rank
    return best


def decide(
    probabilities: Mapping[str, np.ndarray],
    targets: Sequence[Target],
    operating: OperatingPoints,
    *,
    spacing: Sequence[float],
) -> np.ndarray:
    """The label map that operating points make of probabilities.

    A voxel that reaches the thresholds of several classes has the class whose probability exceeds its threshold by the
    largest factor. Regions are painted one over the other, in nnU-Net's order.

    Args:
        probabilities: of each target (*spatial).
        targets: labels, or regions.
        operating: the points of these targets.
        spacing: of the voxels in mm, one number for each axis.

    Returns:
        Labels (*spatial), 0 for the background.
    """
    points, order = operating.points, operating.regions_class_order
    excess = np.stack([probabilities[target.name] / points[target.name].threshold for target in targets])
    winner = excess.argmax(0)
    labels = np.zeros(winner.shape, dtype=np.int16)
    voxel = float(np.prod(spacing))
    for position, target in enumerate(targets):
        mask = excess[position] >= 1
        if order is None:
            mask &= winner == position
        components, number = label_components(mask, operating.connectivity)
        sizes = np.bincount(components.ravel(), minlength=number + 1) * voxel
        large = sizes >= points[target.name].min_component_size * TOLERANCE
        large[0] = False
        labels[large[components]] = target.labels[0] if order is None else order[position]
    return labels


def _limits(components: np.ndarray) -> np.ndarray:
    """Size limits that are tried: zero, and one just above each size, so that nothing larger is lost to it."""
    sizes = np.unique(components)
    if len(sizes) > MOST_SIZES:
        sizes = np.unique(np.quantile(sizes, np.linspace(0, 1, MOST_SIZES), method="nearest"))
    return np.concatenate([[0.0], sizes * ABOVE])
