"""What is kept of a predicted image: which lesions are detected at each threshold, and how many false positives."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from nnunetv2_mamba.evaluation.case import MaskPair, compare_pair
from nnunetv2_mamba.evaluation.protocol import Protocol

THRESHOLDS = (0.02, 0.05, *(round(0.1 * step, 2) for step in range(1, 10)), 0.95, 0.98, 0.99, 0.995, 0.999)
"""A voxel is predicted where the probability of its class reaches the threshold."""

DEFAULT_THRESHOLD = 0.5

PROTOCOL = Protocol(name="IoU above 0.1, one to one", matching="one_to_one", iou_threshold=0.1)
"""With any overlap, a prediction of the whole image would detect every lesion without a false positive."""


def score_class(probability: np.ndarray, reference: np.ndarray, spacing: tuple[float, ...]) -> dict[str, Any]:
    """Everything that the report needs of one class in one image, as JSON.

    Args:
        probability: of the class (*spatial).
        reference: bool (*spatial).
        spacing: of the voxels, one number an axis.

    Returns:
        ``voxels`` of each lesion; at each of `THRESHOLDS` the ``detected`` lesions (a hexadecimal number, whose bits
        are the lesions, the first one lowest) and the number of ``false_positives``; at the default threshold ``TP``,
        ``FP`` and ``FN`` voxels and the normalised surface Dice ``nsd``.
    """
    detected, false_positives, voxels = [], [], []
    for threshold in THRESHOLDS:
        pair = MaskPair(reference, probability >= threshold, spacing=spacing)
        comparison = compare_pair(pair, PROTOCOL, distances=False)
        bits = sum(1 << number for number, lesion in enumerate(comparison.lesions) if lesion.status == "true_positive")
        detected.append(f"{bits:x}")
        false_positives.append(sum(part.status == "false_positive" for part in comparison.components))
        voxels = [lesion.voxels for lesion in comparison.lesions]
    at_default = compare_pair(MaskPair(reference, probability >= DEFAULT_THRESHOLD, spacing=spacing), PROTOCOL)
    surface = at_default.metrics["NSD"]
    return {
        "voxels": voxels,
        "detected": detected,
        "false_positives": false_positives,
        **{name: int(at_default.counts[name]) for name in ("TP", "FP", "FN")},
        "nsd": None if np.isnan(surface) else float(surface),
    }


def detected_lesions(scores: Mapping[str, Any], threshold: int) -> np.ndarray:
    """Whether each lesion of an image is detected (bool (n,)).

    Args:
        scores: of one class in one image.
        threshold: index in `THRESHOLDS`.
    """
    bits = int(scores["detected"][threshold], 16)
    return np.array([bool(bits >> number & 1) for number in range(len(scores["voxels"]))], dtype=bool)
