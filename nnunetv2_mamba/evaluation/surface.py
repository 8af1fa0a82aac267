"""Surfaces of masks and distances between them, as DeepMind's ``surface-distance`` defines them.

A surface consists of elements: one at each point between voxels whose 2 x 2 (x 2) neighbours are neither all inside nor
all outside, with the area that a marching-cubes surface has there (the length, in images). The areas, HD95 and the
normalised surface Dice are those of that library. Only the distances are found
differently: by a search tree over the elements instead of a distance transform of the whole volume. The numbers are the
same, and the cost falls with the size of the lesions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from scipy.spatial import KDTree
from surface_distance import compute_robust_hausdorff, compute_surface_dice_at_tolerance, lookup_tables


@dataclass(frozen=True)
class Surface:
    """Elements of the surface of a mask.

    Attributes:
        points: their positions in mm (N, dimensions).
        areas: of the elements in mm^2, or lengths in mm (N,).
    """

    points: np.ndarray
    areas: np.ndarray

    def __len__(self) -> int:
        """Number of elements."""
        return len(self.areas)


@dataclass(frozen=True)
class Surfaces:
    """Surface of a mask, and that of each of its numbered parts.

    Attributes:
        whole: of the mask.
        part: number of the part of each element of a part (M,), ascending.
        element: position of that element in `whole` (M,).
        code: which of the voxels around that element belong to the part (M,), see `_codes`.
        areas: of an element, by its code.
    """

    whole: Surface
    part: np.ndarray
    element: np.ndarray
    code: np.ndarray
    areas: np.ndarray

    def of(self, parts: Sequence[int] | np.ndarray) -> Surface:
        """Surface of some parts together."""
        starts, stops = np.searchsorted(self.part, parts, "left"), np.searchsorted(self.part, parts, "right")
        mine = np.concatenate([np.arange(start, stop) for start, stop in zip(starts, stops, strict=True)])
        element, code = self.element[mine], self.code[mine]
        if len(parts) > 1:
            # Two parts that touch only at a corner share an element; not every connectivity joins them.
            element, which = np.unique(element, return_inverse=True)
            code = np.bincount(which, weights=code).astype(np.intp)
        return Surface(self.whole.points[element], self.areas[code])

    def nearest(self, distances: np.ndarray, number: int) -> np.ndarray:
        """Smallest of the distances (N,) of each part's elements (number + 1,), infinite where a part has none."""
        smallest = np.full(number + 1, np.inf)
        np.minimum.at(smallest, self.part, distances[self.element])
        return smallest


def surfaces_of(parts: np.ndarray, spacing: tuple[float, ...]) -> Surfaces:
    """Find the elements of the surface of a mask and of its parts.

    Args:
        parts: number of the part at each voxel (*spatial), 0 outside the mask; 2-D or 3-D.
        spacing: of the voxels in mm, one number for each axis.
    """
    padded = np.pad(parts, 1)
    code = _codes((padded > 0).view(np.uint8))
    # One comparison excludes 0 and all bits set: as a byte, 0 - 1 is the largest number.
    full = 2 ** (2**parts.ndim) - 1
    where = np.flatnonzero(code - np.uint8(1) < full - 1)
    index = np.unravel_index(where, code.shape)
    table = _areas(tuple(spacing))
    whole = Surface(np.stack(index, axis=1) * np.asarray(spacing), table[code.ravel()[where]])
    around = [padded[tuple(i + c for i, c in zip(index, corner, strict=True))] for corner in _corners(parts.ndim)]
    part, element, code = _elements_of_parts(np.stack(around, axis=1))
    return Surfaces(whole=whole, part=part, element=element, code=code, areas=table)


def _corners(dimensions: int) -> list[tuple[int, ...]]:
    """The voxels around a point between them, in the order of the bits of a code, largest first."""
    return list(product((0, 1), repeat=dimensions))


def _codes(inside: np.ndarray) -> np.ndarray:
    """Which of the voxels around each point between voxels are inside, one bit each, in the order of the library.

    Args:
        inside: 0 or 1 (*spatial).
    """
    for bits, axis in enumerate(reversed(range(inside.ndim))):
        before, after = (inside[(slice(None),) * axis + (part,)] for part in (slice(None, -1), slice(1, None)))
        inside = (before << np.uint8(2**bits)) | after
    return inside


def _elements_of_parts(around: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One entry for each element and part around it: (part, position, code)."""
    found = []
    bits = 2 ** np.arange(around.shape[1])[::-1]
    for corner in range(around.shape[1]):
        part = around[:, corner]
        first = (part > 0) & ~(around[:, :corner] == part[:, None]).any(axis=1)
        element = np.flatnonzero(first)
        code = ((around[element] == part[element, None]) * bits).sum(axis=1)
        found.append((part[element], element, code))
    part, element, code = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.argsort(part, kind="stable")
    # In the type of later look-ups: otherwise each look-up would convert the array.
    return part[order].astype(np.intp), element[order], code[order]


@lru_cache(maxsize=64)
def _areas(spacing: tuple[float, ...]) -> np.ndarray:
    if len(spacing) == 2:
        return np.asarray(lookup_tables.create_table_neighbour_code_to_contour_length(spacing))
    return np.asarray(lookup_tables.create_table_neighbour_code_to_surface_area(spacing))


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances between two surfaces, neither of them empty.

    Attributes:
        forth: from each element of the first to the nearest of the second, in mm (N,).
        back: from each element of the second to the nearest of the first, in mm (M,).
        areas_forth: of the elements of the first (N,).
        areas_back: of the elements of the second (M,).
    """

    forth: np.ndarray
    back: np.ndarray
    areas_forth: np.ndarray
    areas_back: np.ndarray

    @classmethod
    def between(cls, first: Surface, second: Surface) -> "SurfaceDistances":
        """Search for the nearest elements."""
        return cls(
            forth=_nearest(first, second),
            back=_nearest(second, first),
            areas_forth=first.areas,
            areas_back=second.areas,
        )

    def hd95(self) -> float:
        """The larger of the two distances within which 95 % of a surface lie."""
        forth, back = np.argsort(self.forth), np.argsort(self.back)
        return float(compute_robust_hausdorff(self._ordered(forth, back), 95))

    def surface_dice(self, tolerance: float) -> float:
        """Share of both surfaces that is no farther than this (mm) from the other."""
        return float(compute_surface_dice_at_tolerance(self._ordered(slice(None), slice(None)), tolerance))

    def _ordered(self, forth: np.ndarray | slice, back: np.ndarray | slice) -> dict[str, np.ndarray]:
        """Arguments of the library's functions."""
        return {
            "distances_gt_to_pred": self.forth[forth],
            "surfel_areas_gt": self.areas_forth[forth],
            "distances_pred_to_gt": self.back[back],
            "surfel_areas_pred": self.areas_back[back],
        }


def _nearest(start: Surface, goal: Surface) -> np.ndarray:
    """Distance from each element of one surface to the nearest of the other."""
    # Surface elements are spread evenly: a plain tree is as good as a balanced one, and faster to build.
    return KDTree(goal.points, leafsize=32, balanced_tree=False, compact_nodes=False).query(start.points)[0]
