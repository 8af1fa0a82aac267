"""Where the lesions of the training cases are; measured once and kept beside the preprocessed cases."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from nnunetv2_mamba.evaluation.components import label_components
from nnunetv2_mamba.folders.segmentations import open_segmentation
from nnunetv2_mamba.training.measured_cases import MeasuredCases

Classes = Sequence[int | Sequence[int]]
"""Foreground labels, or regions of several labels."""

Boxes = list[list[int]]
"""Of each lesion: how many voxels it has, where its bounding box starts and stops along each axis, and the indices of
some of its voxels, one after the other."""

ANCHORS = 8
"""At most so many voxels of a lesion are kept."""

LONGEST_NAME = 60
"""Characters of a file's name that say which classes its boxes are of; more are replaced by a digest."""


class SamplingError(RuntimeError):
    """Patches cannot be sampled by lesions; the message says why and what to do."""


@dataclass(frozen=True)
class Lesions:
    """All lesions of the training cases.

    Attributes:
        cases: name of the case of each lesion (n,).
        voxels: their sizes (n,).
        start: first index of their bounding boxes (n, 3).
        stop: first index after these boxes (n, 3).
        anchors: some of the voxels of each lesion (k, 3).
    """

    cases: list[str]
    voxels: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    anchors: list[np.ndarray]

    @classmethod
    def of_boxes(cls, boxes: Mapping[str, Boxes]) -> "Lesions":
        """From the boxes of each case.

        Raises:
            SamplingError: there is no lesion at all.
        """
        names = [case for case in sorted(boxes) for _ in boxes[case]]
        if not names:
            raise SamplingError(
                f"none of the {len(boxes)} training cases has foreground, so there are no lesions to sample: check the "
                "labels in dataset.json and the split, or use a trainer that samples as nnU-Net does."
            )
        rows = [box for case in sorted(boxes) for box in boxes[case]]
        table = np.array([row[:7] for row in rows], dtype=np.int64)
        anchors = [np.array(row[7:], dtype=np.int64).reshape(-1, 3) for row in rows]
        return cls(names, table[:, 0], table[:, 1:4], table[:, 4:7], anchors)

    def probabilities(self, exponent: float) -> np.ndarray:
        """Of each lesion to be sampled (n,): proportional to voxels^-exponent.

        Args:
            exponent: 0 for all alike; a larger one prefers small lesions.
        """
        weights = self.voxels.astype(float) ** -exponent
        return weights / weights.sum()


def lesion_boxes(folder: Path, cases: Sequence[str], classes: Classes) -> MeasuredCases[Boxes]:
    """The measure of preprocessed cases.

    Args:
        folder: of the preprocessed cases.
        cases: their names.
        classes: whose connected components are the lesions.

    Raises:
        SamplingError: the segmentation of a case is missing.
    """
    members = [sorted(map(int, np.atleast_1d(entry))) for entry in classes]
    # Lesions of other classes are other lesions: each choice of classes has a cache of its own.
    name = "_".join("+".join(map(str, labels)) for labels in members)
    if len(name) > LONGEST_NAME:
        name = hashlib.blake2b(name.encode(), digest_size=8).hexdigest()
    try:
        return MeasuredCases(
            folder, cases, name=f"boxes_of_{name}", measure=partial(_boxes, members=members), parse=_as_read
        )
    except FileNotFoundError as error:
        raise SamplingError(str(error)) from error


def _boxes(file: Path, members: Sequence[Sequence[int]]) -> Boxes:
    segmentation = np.asarray(open_segmentation(file)[0])
    found: Boxes = []
    for labels in members:
        # A single slice is flat for the components, whose neighbours differ in 2-D and 3-D in name only.
        components, _ = label_components(np.isin(segmentation, labels))
        sizes = np.bincount(components.ravel())
        for number, box in enumerate(ndimage.find_objects(components.astype(np.int32)), 1):
            start = [axis.start for axis in box]
            voxels = np.argwhere(components[box] == number) + start
            some = voxels[np.linspace(0, len(voxels) - 1, min(len(voxels), ANCHORS)).astype(int)]
            found.append([int(sizes[number]), *start, *(axis.stop for axis in box), *some.ravel().tolist()])
    return found


def _as_read(boxes: Any) -> Boxes:
    return boxes
