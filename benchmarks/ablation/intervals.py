"""Means over seeds with intervals over images, from counts that add up over images.

Every score is a ratio of two sums over images; an image that is drawn twice counts twice. Images of one eye are drawn
together. The intervals say how the scores of the same networks would vary over other images. The scores of the single
seeds say how they vary from training to training.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.ablation.scores import with_present_keys
from nnunetv2_mamba.evaluation.metric import ratio
from nnunetv2_mamba.report.statistics import Resampling, interval

RESAMPLES = 10_000

Ratio = tuple[float, float]


def size_limits(lesions: Sequence[int]) -> list[float]:
    """Largest number of pixels of a lesion of the lower and of the middle third; NaN without lesions."""
    return np.quantile(lesions, (1 / 3, 2 / 3)).tolist() if len(lesions) else [math.nan, math.nan]


def _recall(counts: Mapping[str, Any], above: float = 0, up_to: float = math.inf) -> Ratio:
    lesions = zip(counts["lesions"], counts["true_positive_lesions"], strict=True)
    chosen = [true_positive for size, true_positive in lesions if above < size <= up_to]
    return float(sum(chosen)), float(len(chosen))


def _over_cases(overlap: float, total: float, counts: Mapping[str, Any]) -> Ratio:
    # Without the class in the reference, an empty prediction would count 1 and a single pixel 0.
    return (overlap / total, 1.0) if counts["lesions"] else (0.0, 0.0)


def ratios(counts: Mapping[str, Any], limits: Sequence[float]) -> dict[str, Ratio]:
    """Numerator and denominator of each score of one class in one image.

    Args:
        counts: of `scores.counts_of`.
        limits: of `size_limits`.
    """
    counts = with_present_keys(counts)
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
        "precision": (counts["true_positive_components"], counts["components"]),
    }


def resampled(counts: np.ndarray, resampling: Resampling) -> np.ndarray:
    """The score of the original images and of each draw; NaN where it is not defined.

    Args:
        counts: numerators and denominators (..., images, 2).
        resampling: of these images.

    Returns:
        (..., 1 + draws).
    """
    return ratio(counts[..., 0] @ resampling.weights.T, counts[..., 1] @ resampling.weights.T)


def summary(scores: np.ndarray) -> dict[str, Any]:
    """Mean over seeds, its interval over images, and the value of each seed; None where one of them is undefined.

    Args:
        scores: (seeds, 1 + draws) of `resampled`, or differences of such.
    """
    # Not only over the seeds that have a value: rows would be compared over different seeds.
    mean = scores.mean(axis=0)
    ends = interval(mean)
    defined = math.isfinite(mean[0]) and math.isfinite(ends[0])
    return {
        "mean": float(mean[0]) if defined else None,
        "interval": list(ends) if defined else None,
        "seeds": [float(value) if math.isfinite(value) else None for value in scores[:, 0]],
    }
