"""What a prediction is compared with its reference by: counts of pixels and of lesions, from which all scores follow.

The rules are those of the default protocol. A lesion is a group of reference pixels of one class that touch at edges or
corners. It counts as found when at least one predicted pixel of its class lies in it. A predicted group counts as right
when it overlaps a lesion of its class.
"""

from dataclasses import dataclass

import numpy as np

from nnunetv2_mamba.evaluation.case import Pair, compare_pair
from nnunetv2_mamba.evaluation.protocol import Protocol


@dataclass(frozen=True)
class Comparison:
    """Counts of one class in one image.

    Attributes:
        TP: pixels that are in both.
        FP: predicted pixels only.
        FN: reference pixels only.
        lesions: pixels of each reference lesion.
        found: whether each of these is found.
        predicted: groups of predicted pixels.
        right: those that touch the reference.
    """

    TP: int
    FP: int
    FN: int
    lesions: list[int]
    found: list[bool]
    predicted: int
    right: int


def compare(reference: np.ndarray, predicted: np.ndarray) -> Comparison:
    """Compare the masks of one class.

    Args:
        reference: bool (H, W).
        predicted: bool (H, W).

    Raises:
        ValueError: the masks differ in shape.
    """
    pair = Pair(reference, predicted, spacing=(1.0, 1.0))
    comparison = compare_pair(pair, Protocol(), distances=False)
    counts = comparison.counts
    return Comparison(
        TP=int(counts["TP"]),
        FP=int(counts["FP"]),
        FN=int(counts["FN"]),
        lesions=[lesion.voxels for lesion in comparison.lesions],
        found=[lesion.status == "found" for lesion in comparison.lesions],
        predicted=int(counts["components"]),
        right=int(counts["right"]),
    )
