"""Random references and predictions: blobs that are predicted, missed, split, joined and false positives."""

import numpy as np
from scipy import ndimage

RADII = (0.4, 1.0, 1.8, 2.6)


def random_pair(
    rng: np.random.Generator, shape: tuple[int, ...], blobs: int = 8, radii: tuple[float, ...] = RADII
) -> tuple[np.ndarray, np.ndarray]:
    """Reference and prediction (bool, *spatial); one of them is empty in about one of ten pairs.

    Args:
        rng: decides everything.
        shape: of both.
        blobs: greatest number of blobs that are drawn, some of which will touch.
        radii: of a blob in voxels, chosen for each axis.
    """
    reference, prediction = np.zeros(shape, bool), np.zeros(shape, bool)
    for _ in range(rng.integers(0, blobs + 1)):
        blob = _blob(rng, shape, radii)
        fate = rng.random()
        if fate < 0.75:
            reference |= blob
        if fate > 0.2:
            moved = np.roll(blob, rng.choice([-1, 0, 0, 0, 1], len(shape)), tuple(range(len(shape))))
            prediction |= moved & (rng.random(shape) < rng.choice([0.6, 0.9, 1.0]))
    if rng.random() < 0.03:
        reference[:] = False
    return reference, prediction


def random_labels(rng: np.random.Generator, shape: tuple[int, ...], labels: int) -> tuple[np.ndarray, np.ndarray]:
    """Two label maps (uint8, *spatial) with labels from 0 to `labels`."""
    maps = np.zeros((2, *shape), np.uint8)
    for label in range(1, labels + 1):
        for segmentation, mask in zip(maps, random_pair(rng, shape, blobs=4), strict=True):
            segmentation[mask] = label
    return maps[0], maps[1]


def random_spacing(rng: np.random.Generator, dimensions: int) -> tuple[float, ...]:
    """Widths of a voxel from 0.5 to 4 mm."""
    return tuple(float(width) for width in rng.choice([0.5, 0.7, 1.0, 1.25, 3.0, 4.0], dimensions))


def _blob(rng: np.random.Generator, shape: tuple[int, ...], choices: tuple[float, ...]) -> np.ndarray:
    centre = [rng.integers(0, size) for size in shape]
    radii = rng.choice(choices, len(shape))
    grid = np.ogrid[tuple(slice(0, size) for size in shape)]
    squares = [((axis - middle) / radius) ** 2 for axis, middle, radius in zip(grid, centre, radii, strict=True)]
    # Also blobs that touch themselves at corners only.
    noise = rng.random(shape) < rng.choice([0.7, 1.0])
    return (sum(squares) <= 1) & (noise | ndimage.binary_erosion(noise))
