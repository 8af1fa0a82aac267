"""Free-response ROC curves of one class: recall of lesions against false positives per image, by size of the lesion."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.integrate import trapezoid

from benchmarks.small_lesions.scoring import THRESHOLDS, detected_lesions

FALSE_POSITIVES = (0.5, 1.0, 2.0)
"""False positives per image at which recall is reported."""

TOKEN = 4
"""Edge length in voxels of a token of the published VSS networks."""


@dataclass(frozen=True)
class Strata:
    """Lesions by their number of voxels: thirds of all, and those smaller than a token, which overlap with the thirds.

    Attributes:
        bounds: largest size of a small and of a medium lesion, in voxels.
        token: voxels of a token.
    """

    bounds: tuple[float, float]
    token: int

    @classmethod
    def of(cls, sizes: np.ndarray, dimensions: int) -> "Strata":
        """Those of a set of lesions.

        Args:
            sizes: in voxels (n,).
            dimensions: of the images.
        """
        low, high = np.quantile(sizes, [1 / 3, 2 / 3]).tolist()
        return cls((low, high), TOKEN**dimensions)

    def members(self, sizes: np.ndarray) -> dict[str, np.ndarray]:
        """Which lesions are in each stratum (bool (n,)), by its name.

        Args:
            sizes: in voxels (n,).
        """
        low, high = self.bounds
        return {
            "all": np.ones(len(sizes), dtype=bool),
            "small": sizes <= low,
            "medium": (sizes > low) & (sizes <= high),
            "large": sizes > high,
            "below token": sizes < self.token,
        }


@dataclass(frozen=True)
class Counts:
    """What is counted in each image at each threshold.

    Attributes:
        groups: group of each image.
        lesions: of each stratum, by its name (images,).
        detected: of each stratum (images, thresholds).
        false_positives: (images, thresholds).
    """

    groups: list[str]
    lesions: dict[str, np.ndarray]
    detected: dict[str, np.ndarray]
    false_positives: np.ndarray

    @classmethod
    def of(cls, cases: Mapping[str, Any], name: str, strata: Strata) -> "Counts":
        """Those of one class in the result of one training.

        Args:
            cases: ``cases`` of the result, in any order.
            name: of the class.
            strata: of the lesions.
        """
        ordered = [cases[case] for case in sorted(cases)]
        scores = [case["classes"][name] for case in ordered]
        members = [strata.members(np.array(score["voxels"], dtype=float)) for score in scores]
        detected = [[detected_lesions(score, threshold) for threshold in range(len(THRESHOLDS))] for score in scores]
        return cls(
            groups=[case["group"] for case in ordered],
            lesions={stratum: np.array([mask[stratum].sum() for mask in members]) for stratum in members[0]},
            detected={
                stratum: np.array(
                    [
                        [(found & mask[stratum]).sum() for found in row]
                        for row, mask in zip(detected, members, strict=True)
                    ]
                )
                for stratum in members[0]
            },
            false_positives=np.array([score["false_positives"] for score in scores]),
        )

    def curve(self, stratum: str, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """False positives per image and recall at each threshold, for each draw of images.

        Args:
            stratum: name of the stratum.
            weights: how often each image is in each draw (draws, images).

        Returns:
            Two arrays (draws, thresholds); recall is NaN where a draw has no lesion of the stratum.
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            recall = (weights @ self.detected[stratum]) / (weights @ self.lesions[stratum])[:, None]
        return (weights @ self.false_positives) / weights.sum(axis=1, keepdims=True), recall


def recall_at(false_positives: np.ndarray, recall: np.ndarray, at: float) -> np.ndarray:
    """Recall at a number of false positives per image, between the thresholds by linear interpolation (draws,).

    The curve starts at (0, 0) and never falls: a higher threshold may be chosen where it detects more. It ends at the
    lowest threshold, so a model that has fewer false positives everywhere keeps the recall of its lowest threshold.

    Args:
        false_positives: per image (draws, thresholds).
        recall: (draws, thresholds).
        at: false positives per image.
    """
    return np.array([np.interp(at, *_envelope(*pair)) for pair in zip(false_positives, recall, strict=True)])


def area_up_to(false_positives: np.ndarray, recall: np.ndarray, limit: float) -> np.ndarray:
    """Mean recall between 0 and a number of false positives per image (draws,).

    Args:
        false_positives: per image (draws, thresholds).
        recall: (draws, thresholds).
        limit: false positives per image.
    """
    grid = np.linspace(0, limit, 201)
    areas = [
        trapezoid(np.interp(grid, *_envelope(*pair)), grid) / limit
        for pair in zip(false_positives, recall, strict=True)
    ]
    return np.array(areas)


def _envelope(false_positives: np.ndarray, recall: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order: Sequence[int] = np.lexsort((recall, false_positives))
    x, y = np.append(0.0, false_positives[order]), np.append(0.0, recall[order])
    return x, np.maximum.accumulate(y)
