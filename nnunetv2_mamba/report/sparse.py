"""Where the parts of a mask are, without the empty voxels around them: volumes are large and lesions small."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnunetv2_mamba.evaluation.parts import Part


@dataclass(frozen=True)
class SparseLabels:
    """Numbers of parts at the voxels that have one.

    Attributes:
        shape: of the image.
        where: indices of the voxels, one array (voxels,) an axis.
        numbers: of the parts (voxels,).
    """

    shape: tuple[int, ...]
    where: tuple[np.ndarray, ...]
    numbers: np.ndarray

    @classmethod
    def of(cls, labels: np.ndarray) -> "SparseLabels":
        """The same as an array (*spatial) in which 0 is no part."""
        where = np.nonzero(labels)
        return cls(labels.shape, where, labels[where])

    def voxels_along(self, axis: int, parts: Sequence[Part]) -> np.ndarray:
        """How many voxels of some parts lie in each slice across an axis (slices,)."""
        inside = np.isin(self.numbers, [part.id for part in parts])
        return np.bincount(self.where[axis][inside], minlength=self.shape[axis])

    def plane(self, place: tuple[int, int] | None) -> np.ndarray:
        """Number of the part at each pixel (H, W).

        Args:
            place: axis and index of a slice of a volume; None for an image.
        """
        if place is None:
            inside, axes = slice(None), [0, 1]
        else:
            inside, axes = self.where[place[0]] == place[1], [axis for axis in range(3) if axis != place[0]]
        plane = np.zeros([self.shape[axis] for axis in axes], dtype=self.numbers.dtype)
        plane[tuple(self.where[axis][inside] for axis in axes)] = self.numbers[inside]
        return plane
