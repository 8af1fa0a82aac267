"""Means over seeds with intervals over images, from counts that add up over images.

Every score is a ratio of two sums over images, so an image that is drawn twice counts twice. Images of one eye are
drawn together. The intervals say how the scores of these very networks would vary over other images of the kind; how
they vary from training to training is said by the scores of the single seeds.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

RESAMPLES = 10_000
LEVEL = 0.95

Ratio = tuple[float, float]


def size_limits(lesions: Sequence[int]) -> list[float]:
    """Pixels that a lesion of the lower and of the middle third has at most; nan where there are no lesions."""
    return np.quantile(lesions, (1 / 3, 2 / 3)).tolist() if len(lesions) else [math.nan, math.nan]


def _recall(counts: Mapping[str, Any], above: float = 0, up_to: float = math.inf) -> Ratio:
    chosen = [found for size, found in zip(counts["lesions"], counts["found"], strict=True) if above < size <= up_to]
    return float(sum(chosen)), float(len(chosen))


def _over_cases(overlap: float, total: float, counts: Mapping[str, Any]) -> Ratio:
    # Where the reference has nothing of the class, both empty would count 1 and a single pixel 0.
    return (overlap / total, 1.0) if counts["lesions"] else (0.0, 0.0)


def ratios(counts: Mapping[str, Any], limits: Sequence[float]) -> dict[str, Ratio]:
    """Numerator and denominator of each score of one class in one image.

    Args:
        counts: fields of a `scores.Comparison`.
        limits: of `size_limits`.
    """
    TP, errors = counts["TP"], counts["FP"] + counts["FN"]
    low, high = limits
    return {
        "Dice": (2 * TP, 2 * TP + errors),
        "IoU": (TP, TP + errors),
        "mean Dice": _over_cases(2 * TP, 2 * TP + errors, counts),
        "mean IoU": _over_cases(TP, TP + errors, counts),
        "recall": _recall(counts),
        "recall, small": _recall(counts, up_to=low),
        "recall, medium": _recall(counts, low, high),
        "recall, large": _recall(counts, above=high),
        "precision": (counts["right"], counts["predicted"]),
    }


class Bootstrap:
    """Draws clusters of images with replacement, the same for everything that is compared.

    Args:
        clusters: that of each image, such as its eye.
        resamples: number of draws.
        seed: of the draws.
    """

    def __init__(self, clusters: Sequence[str], resamples: int = RESAMPLES, seed: int = 0) -> None:
        names, self._cluster = np.unique(clusters, return_inverse=True)
        self.n_clusters = len(names)
        even = np.full(self.n_clusters, 1 / self.n_clusters)
        draws = np.random.default_rng(seed).multinomial(self.n_clusters, even, resamples)
        # The images as they are come first: they give the estimate, the others its interval.
        self._weights = np.concatenate([np.ones((1, self.n_clusters)), draws])

    def scores(self, counts: np.ndarray) -> np.ndarray:
        """The score of the images as they are and of each draw; nan where there is nothing to measure.

        Args:
            counts: numerators and denominators (..., images, 2).

        Returns:
            (..., 1 + resamples).
        """
        summed = np.zeros((*counts.shape[:-2], self.n_clusters, 2))
        for image, cluster in enumerate(self._cluster):
            summed[..., cluster, :] += counts[..., image, :]
        top, bottom = summed[..., 0] @ self._weights.T, summed[..., 1] @ self._weights.T
        return np.divide(top, bottom, out=np.full_like(top, np.nan), where=bottom > 0)


def summary(scores: np.ndarray) -> dict[str, Any]:
    """Mean over seeds, its interval over images, and the value of each seed; None where one of them is undefined.

    Args:
        scores: (seeds, 1 + resamples) of `Bootstrap.scores`, or differences of such.
    """
    # Not over those seeds that have a value: rows would be compared over different seeds.
    mean = scores.mean(axis=0)
    drawn = mean[1:][np.isfinite(mean[1:])]
    defined = math.isfinite(mean[0]) and len(drawn) > 0
    tail = (1 - LEVEL) / 2
    return {
        "mean": float(mean[0]) if defined else None,
        "interval": np.quantile(drawn, (tail, 1 - tail)).tolist() if defined else None,
        "seeds": [float(value) if math.isfinite(value) else None for value in scores[:, 0]],
    }
