"""What resampling to the voxels of a plan leaves of each lesion."""

from collections.abc import Iterator
from itertools import product

import numpy as np

from nnunetv2_mamba.evaluation.lesions import Extent


def extent_after(lesions: np.ndarray, number: int, resampled: np.ndarray) -> Extent:
    """Voxels of each lesion in a resampled mask.

    The centre of a resampled voxel lies between the centres of up to eight annotated voxels. Of those in a lesion, the
    voxel with the greatest weight in linear interpolation gives the lesion of the resampled voxel. So every lesion is
    followed separately, even if several lesions merge or one breaks apart.

    Args:
        lesions: numbered lesions as annotated (z, y, x).
        number: number of lesions.
        resampled: mask of their class over the same extent, on another grid (bool (z', y', x')).
    """
    (lower, share), *in_plane = [_between(*sizes) for sizes in zip(lesions.shape, resampled.shape, strict=True)]

    def planes() -> Iterator[np.ndarray]:
        for index, plane in enumerate(resampled):
            axes = [(lower[[index]], share[[index]])]
            axes += [(low[at], high[at]) for (low, high), at in zip(in_plane, np.nonzero(plane), strict=True)]
            yield _nearest_lesion(lesions, axes)

    return Extent.of(planes(), number)


def _between(old: int, new: int) -> tuple[np.ndarray, np.ndarray]:
    """Index of the old voxel at or below the centre of each new one, and how near the next one is (0 to 1)."""
    # Both grids cover the same length, so their outer edges agree, but not the centres of their first voxels.
    centre = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    lower = np.minimum(centre.astype(np.int64), max(old - 2, 0))
    return lower, centre - lower


def _nearest_lesion(lesions: np.ndarray, axes: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Lesion of the voxel with the greatest weight in linear interpolation, of those in a lesion; 0 without any."""
    points = len(axes[-1][0])
    nearest, greatest = np.zeros(points, dtype=lesions.dtype), np.zeros(points)
    for corner in product((0, 1), repeat=len(axes)):
        if any(upper and size == 1 for upper, size in zip(corner, lesions.shape, strict=True)):
            continue
        indices = tuple(lower + upper for upper, (lower, _) in zip(corner, axes, strict=True))
        weight = np.ones(1)
        for upper, (_, share) in zip(corner, axes, strict=True):
            weight = weight * (share if upper else 1 - share)
        lesion = lesions[indices]
        better = (lesion > 0) & (weight > greatest)
        nearest, greatest = np.where(better, lesion, nearest), np.where(better, weight, greatest)
    return nearest
