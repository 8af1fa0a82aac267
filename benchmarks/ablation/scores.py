"""What a prediction is compared with its reference by: counts of pixels and of lesions, from which all scores follow.

A lesion is a group of reference pixels of one class that touch at edges or corners. It counts as found when at least
one predicted pixel of its class lies in it. A predicted group counts as right when it touches at least one reference
pixel of its class.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

NEIGHBOURS = np.ones((3, 3), dtype=int)


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
    if reference.shape != predicted.shape:
        raise ValueError(f"a prediction of {predicted.shape} pixels cannot have a reference of {reference.shape}.")
    lesions, n_lesions = ndimage.label(reference, NEIGHBOURS)
    groups, n_groups = ndimage.label(predicted, NEIGHBOURS)
    sizes = np.bincount(lesions.ravel(), minlength=n_lesions + 1)[1:]
    overlaps = np.bincount(lesions[predicted], minlength=n_lesions + 1)[1:]
    hits = np.bincount(groups[reference], minlength=n_groups + 1)[1:]
    both = int(np.sum(reference & predicted))
    return Comparison(
        TP=both,
        FP=int(predicted.sum()) - both,
        FN=int(reference.sum()) - both,
        lesions=sizes.tolist(),
        found=(overlaps > 0).tolist(),
        predicted=n_groups,
        right=int(np.sum(hits > 0)),
    )
