"""The lesions of one annotated case: how large they are, what they touch."""

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from itertools import product

import numpy as np

from nnunetv2_mamba.evaluation.components import label_components
from nnunetv2_mamba.evaluation.protocol import Connectivity

_STEPS = {"faces": 1, "edges": 2, "corners": 3}


@dataclass(frozen=True)
class Extent:
    """How many voxels each of n lesions has, and in which slices; a slice is across the first axis.

    Attributes:
        voxels: int (n,).
        largest_slice: most voxels of it in one slice, int (n,).
        slices: slices that it is in, int (n,).
    """

    voxels: np.ndarray
    largest_slice: np.ndarray
    slices: np.ndarray

    @classmethod
    def of(cls, planes: Iterable[np.ndarray], number: int) -> "Extent":
        """Count voxels slice by slice.

        Args:
            planes: number of the lesion of each voxel, 0 where there is none; integers of any shape, a slice each.
            number: of lesions.
        """
        voxels, largest, slices = (np.zeros(number, dtype=np.int64) for _ in range(3))
        for plane in planes:
            counts = np.bincount(plane.ravel(), minlength=number + 1)[1:]
            voxels += counts
            np.maximum(largest, counts, out=largest)
            slices += counts > 0
        return cls(voxels, largest, slices)

    @classmethod
    def joined(cls, extents: "Sequence[Extent]") -> "Extent":
        """Of the lesions of several cases."""
        return cls(*(np.concatenate(parts) for parts in zip(*map(astuple, extents), strict=True)))

    def seen(self, slicewise: bool) -> np.ndarray:
        """Voxels of each lesion that a network sees at once (n,): all of them, or where it sees slices, the most."""
        return self.largest_slice if slicewise else self.voxels


def label_volume(mask: np.ndarray, connectivity: Connectivity) -> tuple[np.ndarray, int, tuple[slice, ...]]:
    """Number the lesions of a volume, or of an image that is a volume of one slice.

    Args:
        mask: bool (z, y, x).
        connectivity: which voxels are neighbours.

    Returns:
        Lesion of each voxel (z, y, x), the number of lesions, and a part of the volume that holds them all and a voxel
        around them.
    """
    box = _around(mask)
    inside = mask[box]
    part, number = label_components(inside[0] if len(mask) == 1 else inside, connectivity)
    lesions = np.zeros(mask.shape, dtype=part.dtype)
    lesions[box] = part
    return lesions, number, box


def touching_border(lesions: np.ndarray, number: int) -> np.ndarray:
    """Whether each lesion has a voxel at the border of the image (bool (n,)); an axis of length 1 has no border."""
    touching = np.zeros(number + 1, dtype=bool)
    for axis in range(lesions.ndim):
        if lesions.shape[axis] > 1:
            for end in (0, -1):
                touching[np.take(lesions, end, axis)] = True
    return touching[1:]


def touching_other(lesions: np.ndarray, number: int, other: np.ndarray, connectivity: Connectivity) -> np.ndarray:
    """Whether each lesion has a neighbour among other voxels (bool (n,)).

    Args:
        lesions: numbered lesions (z, y, x).
        number: of lesions.
        other: bool (z, y, x).
        connectivity: which voxels are neighbours.
    """
    touching = np.zeros(number + 1, dtype=bool)
    for step in product((-1, 0, 1), repeat=lesions.ndim):
        if 0 < np.abs(step).sum() <= _STEPS[connectivity]:
            here = tuple(slice(max(0, -by), min(size, size - by)) for by, size in zip(step, lesions.shape, strict=True))
            there = tuple(slice(max(0, by), min(size, size + by)) for by, size in zip(step, lesions.shape, strict=True))
            touching[lesions[here][other[there]]] = True
    return touching[1:]


def _around(mask: np.ndarray) -> tuple[slice, ...]:
    """The smallest part that holds a mask and a voxel around it; one voxel where the mask is empty."""
    box = []
    for axis in range(mask.ndim):
        inside = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        box.append(slice(max(0, inside[0] - 1), inside[-1] + 2) if len(inside) else slice(0, 1))
    return tuple(box)
