"""Segmentations as nnU-Net's readers give them, with the place in the world that they were drawn in."""

import gzip
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from nnunetv2_mamba.evaluation.errors import EvaluationError

Unit = Literal["mm", "px"]

# nnU-Net marks 2-D images by a first axis of this many times the spacing of the others.
_FLAT = 999.0


def size_unit(unit: Unit, dimensions: int) -> str:
    """Unit of the sizes of lesions in images (2) or volumes (3)."""
    if unit == "mm":
        return f"mm^{dimensions}"
    return "px" if dimensions == 2 else "voxels"


class GeometryError(ValueError):
    """Two segmentations cannot be compared voxel by voxel; the message says why and what to do."""


class SegmentationReader(Protocol):
    """What is needed of nnU-Net's readers."""

    def read_seg(self, seg_fname: str) -> tuple[np.ndarray, dict[str, Any]]:
        """Labels (1, z, y, x) and properties with at least ``spacing``."""
        ...


@dataclass(frozen=True)
class Segmentation:
    """A label map.

    Attributes:
        array: labels (*spatial), (y, x) of an image or (z, y, x) of a volume.
        spacing: of the voxels, one number an axis.
        placement: origin in mm and direction cosines, by name; empty where the file has none.
        unit: of the spacing; px where the file does not know how large its pixels are.
        path: of the file.
    """

    array: np.ndarray
    spacing: tuple[float, ...]
    placement: dict[str, tuple[float, ...]]
    unit: Unit
    path: Path


def read_segmentation(reader: SegmentationReader, path: Path) -> Segmentation:
    """Read a file with one of nnU-Net's readers.

    Args:
        reader: of nnU-Net, or like it.
        path: of the file.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        _read_to_the_end(path)
        array, properties = reader.read_seg(str(path))
    except Exception as error:
        # Each of nnU-Net's readers raises what its library raises.
        raise OSError(f"{path} cannot be read as a segmentation: {error}") from error
    array = array[0]
    spacing = tuple(float(width) for width in properties["spacing"])
    placement = _placement(properties)
    if array.shape[0] == 1 and spacing[0] >= 0.999 * _FLAT * max(spacing[1:]):
        array, spacing = array[0], spacing[1:]
    unit: Unit = "px" if not placement and set(spacing) == {1.0} else "mm"
    return Segmentation(array, spacing, placement, unit, path)


def _read_to_the_end(path: Path) -> None:
    """Fail for a compressed file that is cut off, which SimpleITK reads as if the rest were background."""
    if path.suffix == ".gz":
        with gzip.open(path) as file:
            while file.read(1 << 22):
                pass


def require_known_labels(segmentation: Segmentation, known: Container[int] | None) -> None:
    """Refuse values that nobody has named, such as 255 for 1, which would pass for background.

    Args:
        segmentation: whose values are looked at.
        known: values besides 0 that it may have; None for any.

    Raises:
        EvaluationError: it has others.
    """
    if known is None:
        return
    values = np.unique(segmentation.array[segmentation.array != 0])
    unknown = [f"{value:g}" for value in values.tolist() if value not in known]
    if unknown:
        few = ", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else "")
        raise EvaluationError(f"{segmentation.path} has the values {few}, which dataset.json does not name: add them.")


def _placement(properties: dict[str, Any]) -> dict[str, tuple[float, ...]]:
    stuff = dict(properties.get("sitk_stuff") or {})
    if nibabel := properties.get("nibabel_stuff"):
        # The affine of the array that the reader gives, which it may have turned.
        affine = np.asarray(nibabel.get("reoriented_affine", nibabel["original_affine"]), dtype=float)
        axes = affine[:3, :3]
        stuff = {"origin": affine[:3, 3], "direction": axes / np.linalg.norm(axes, axis=0)}
    return {name: tuple(np.ravel(stuff[name]).tolist()) for name in ("origin", "direction") if name in stuff}


def require_same_grid(reference: Segmentation, prediction: Segmentation) -> None:
    """Refuse two segmentations whose voxels are not at the same places.

    A thousandth of spacing and direction, and a hundredth of a voxel of the origin, is what file formats round away.

    Raises:
        GeometryError: shape, spacing, origin or direction differ.
    """
    remedy = "resample the prediction to the grid of the reference, or compare with the reference it was made for"
    if reference.array.shape != prediction.array.shape:
        _refuse("shape", prediction, prediction.array.shape, reference, reference.array.shape, remedy)
    if not np.allclose(reference.spacing, prediction.spacing, rtol=1e-3):
        _refuse("spacing", prediction, prediction.spacing, reference, reference.spacing, remedy)
    for name in (name for name in reference.placement if name in prediction.placement):
        there, here = reference.placement[name], prediction.placement[name]
        tolerance = 1e-3 if name == "direction" else 1e-2 * min(reference.spacing)
        if len(there) != len(here) or not np.allclose(there, here, rtol=0, atol=tolerance):
            _refuse(name, prediction, here, reference, there, remedy)


def _refuse(what: str, prediction: Segmentation, here: Any, reference: Segmentation, there: Any, remedy: str) -> None:
    values = [" x ".join(f"{value:g}" for value in numbers) for numbers in (here, there)]
    raise GeometryError(
        f"{prediction.path} has the {what} {values[0]}, but its reference {reference.path} {values[1]}: {remedy}."
    )
