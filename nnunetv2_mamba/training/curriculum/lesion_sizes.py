"""Sizes of lesions in nnU-Net's preprocessed segmentations, measured once and kept beside them."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from nnunetv2_mamba.folders.segmentations import open_segmentation
from nnunetv2_mamba.training.measured_cases import FOLDER, MeasuredCases

CACHE = Path(FOLDER, "voxels_per_label.json")
"""Below the preprocessed cases."""

Classes = Sequence[int | Sequence[int]]
"""Foreground labels, or regions of several labels."""

Voxels = dict[int, int]
"""Number of voxels of each label."""


class CurriculumError(RuntimeError):
    """A curriculum of these training cases is not possible; the message says why and what to do."""


class LabelCounts(MeasuredCases[Voxels]):
    """Voxels of each label in preprocessed segmentations.

    Args:
        folder: of the preprocessed cases.
        cases: their names.

    Raises:
        CurriculumError: the segmentation of a case is missing.
    """

    def __init__(self, folder: Path, cases: Sequence[str]) -> None:
        try:
            super().__init__(folder, cases, name=CACHE.stem, measure=_count, parse=_with_labels)
        except FileNotFoundError as error:
            raise CurriculumError(str(error)) from error


def lesion_size(voxels: Mapping[int, int], classes: Classes, ignore_label: int | None = None) -> float:
    """Share of an image that its foreground covers; with several classes, the share of the smallest class in it.

    Args:
        voxels: voxels of each label; negative ones, where nnU-Net cropped around the image, count as background.
        classes: foreground labels or regions.
        ignore_label: its voxels are left out.

    Returns:
        A number in (0, 1], or NaN where no class is present.
    """
    total = sum(voxels.values()) - (voxels.get(ignore_label, 0) if ignore_label is not None else 0)
    members = [(entry,) if isinstance(entry, (int, np.integer)) else tuple(entry) for entry in classes]
    present = [size for labels in members if (size := sum(voxels.get(int(label), 0) for label in labels))]
    return min(present) / total if present else math.nan


def _count(file: Path) -> Voxels:
    counts: Voxels = {}
    # Slice by slice, because bincount works on 64-bit copies.
    for plane in np.asarray(open_segmentation(file)[0]):
        lowest = int(plane.min())
        for label, voxels in enumerate(np.bincount(plane.ravel().astype(np.int64) - lowest), lowest):
            if voxels:
                counts[label] = counts.get(label, 0) + int(voxels)
    return counts


def _with_labels(voxels: Mapping[str, int]) -> Voxels:
    return {int(label): count for label, count in voxels.items()}
