"""Counts of pixels and lesions of one class in one image, from which all scores follow.

The rules are those of the default protocol. A lesion is a group of reference pixels of one class that touch at edges or
corners. It is a true positive if at least one predicted pixel of its class lies in it. A predicted group is a true
positive if it overlaps a lesion of its class.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from nnunetv2_mamba.evaluation.case import compare

EARLIER = {"found": "true_positive_lesions", "predicted": "components", "right": "true_positive_components"}
"""Keys that earlier versions wrote."""


def counts_of(reference: np.ndarray, predicted: np.ndarray) -> dict[str, Any]:
    """Compare the masks of one class.

    Args:
        reference: bool (H, W).
        predicted: bool (H, W).

    Returns:
        Pixels ``TP``, ``FP`` and ``FN``; the pixels of each of the ``lesions`` and whether each is one of the
        ``true_positive_lesions``; the number of ``components`` and of ``true_positive_components``.

    Raises:
        ValueError: the masks differ in shape.
    """
    comparison = compare(reference, predicted, spacing=(1.0, 1.0))
    names = ("TP", "FP", "FN", "components", "true_positive_components")
    return {
        **{name: int(comparison.counts[name]) for name in names},
        "lesions": [lesion.voxels for lesion in comparison.lesions],
        "true_positive_lesions": [lesion.status == "true_positive" for lesion in comparison.lesions],
    }


def with_present_keys(counts: Mapping[str, Any]) -> dict[str, Any]:
    """Counts of this version or of an earlier one, with the keys of this version."""
    return {EARLIER.get(name, name): value for name, value in counts.items()}
