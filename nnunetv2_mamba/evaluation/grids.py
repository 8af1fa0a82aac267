"""Whether the voxels of two segmentations are at the same places in the world."""

from itertools import product

import numpy as np

from nnunetv2_mamba.evaluation.errors import GeometryError
from nnunetv2_mamba.evaluation.images import Segmentation

TOLERANCE = 0.1
"""How far the grids of two segmentations may be apart, in voxels at the corners of the image."""


def compare_grids(reference: Segmentation, prediction: Segmentation) -> str | None:
    """Look whether two segmentations have the same voxels.

    Args:
        reference: that the prediction is held against.
        prediction: of the same image.

    Returns:
        A warning if their headers place the voxels differently, by more than `TOLERANCE`; None if not.

    Raises:
        GeometryError: they differ in the number of axes or in shape, so that no voxel belongs to another.
    """
    _require_same_shape(reference, prediction)
    distance = displacement(reference, prediction)
    # Before a look for missing headers: a header with default values may be what the file means.
    if distance <= TOLERANCE:
        return None
    # Two files without a place, such as TIFF files, can only differ in their spacings, which are said below.
    either_placed = bool(reference.placement or prediction.placement)
    missing = [
        each.path for each in (reference, prediction) if not has_header(each) or (either_placed and not each.placement)
    ]
    if missing:
        return (
            f"{missing[0]} does not say where its voxels are: {prediction.path} and {reference.path} were compared "
            f"voxel by voxel, with sizes by the spacing {_numbers(reference.spacing)} of the reference, which "
            "--geometry voxels confirms"
        )
    return (
        f"{prediction.path} is up to {distance:.2g} voxels away from its reference {reference.path} "
        f"({_header(prediction)} against {_header(reference)}): they were compared voxel by voxel; if their voxels do "
        "belong together, confirm it with --geometry voxels"
    )


def displacement(reference: Segmentation, prediction: Segmentation) -> float:
    """Largest distance between the same corner of both images, along an axis of the reference and in its voxels.

    Args:
        reference: whose voxels are the unit.
        prediction: of the same shape.
    """
    (matrix, origin), (other_matrix, other_origin) = _affine(reference), _affine(prediction)
    corners = np.array(list(product(*((0, size - 1) for size in reversed(reference.array.shape))))).T
    apart = other_matrix @ corners + other_origin[:, None] - matrix @ corners - origin[:, None]
    return float(np.abs(np.linalg.solve(matrix, apart)).max())


def has_header(segmentation: Segmentation) -> bool:
    """Whether the file says where its voxels are; defaults of a format without a header do not count."""
    size = len(segmentation.spacing)
    origin = segmentation.placement.get("origin", (0.0,) * size)
    direction = segmentation.placement.get("direction", tuple(np.eye(size).ravel()))
    default = not any(origin) and np.array_equal(np.abs(direction), np.eye(size).ravel())
    return not (default and set(segmentation.spacing) == {1.0})


def _affine(segmentation: Segmentation) -> tuple[np.ndarray, np.ndarray]:
    """Matrix and origin that take an index (x, y, z) to millimetres."""
    size = len(segmentation.spacing)
    direction = segmentation.placement.get("direction", tuple(np.eye(size).ravel()))
    origin = np.array(segmentation.placement.get("origin", (0.0,) * size))
    return np.reshape(direction, (size, size)) * np.array(segmentation.spacing[::-1]), origin


def _require_same_shape(reference: Segmentation, prediction: Segmentation) -> None:
    here, there = prediction.array.shape, reference.array.shape
    if len(here) != len(there):
        raise GeometryError(
            f"{prediction.path} has {len(here)} axes and its reference {reference.path} has {len(there)}: compare the "
            "prediction with the reference that it was made for."
        )
    if here != there:
        shapes = [" x ".join(map(str, shape)) for shape in (here, there)]
        raise GeometryError(
            f"{prediction.path} has the shape {shapes[0]} and its reference {reference.path} has {shapes[1]}: resample "
            "the prediction to the grid of the reference, or compare it with the reference that it was made for."
        )


def _header(segmentation: Segmentation) -> str:
    parts = {"spacing": segmentation.spacing, **segmentation.placement}
    return ", ".join(f"{name} {_numbers(values)}" for name, values in parts.items())


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.6g}" for value in values)
