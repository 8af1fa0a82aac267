"""Segmentations as nnU-Net's readers give them, with the place in the world that they were drawn in."""

import errno
import math
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from nnunetv2_mamba.evaluation.errors import EvaluationError
from nnunetv2_mamba.evaluation.label_maps import mapped, single_channel, whole_numbers
from nnunetv2_mamba.evaluation.whole_files import require_whole

Unit = Literal["mm", "px"]

# nnU-Net marks 2-D images by a first axis of this many times the spacing of the others.
_FLAT = 999.0


def size_unit(unit: Unit, dimensions: int) -> str:
    """Unit of the sizes of lesions in images (2) or volumes (3)."""
    if unit == "mm":
        return f"mm^{dimensions}"
    return "px" if dimensions == 2 else "voxels"


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
        placement: origin in mm and direction cosines, by name; empty where the file has none, or has an affine that
            is not finite or not invertible.
        unit: of the spacing; px where the file does not know how large its pixels are.
        path: of the file.
        warnings: what was odd about the file.
    """

    array: np.ndarray
    spacing: tuple[float, ...]
    placement: dict[str, tuple[float, ...]]
    unit: Unit
    path: Path
    warnings: tuple[str, ...] = ()


def read_segmentation(reader: SegmentationReader, path: Path, values: Mapping[int, int] | None = None) -> Segmentation:
    """Read a label map with one of nnU-Net's readers.

    Args:
        reader: of nnU-Net, or like it.
        path: of the file.
        values: new label of each value that is replaced; none unless given.

    Raises:
        OSError: the file cannot be read, or is cut off.
        EvaluationError: the file does not hold one whole number for each voxel, or its voxels have no size.
    """
    require_whole(path)
    try:
        array, properties = reader.read_seg(str(path))
    except Exception as error:
        # Each of nnU-Net's readers raises what its library raises, often in several lines.
        size = f"{path.stat().st_size} bytes" if path.is_file() else "not there"
        raise OSError(
            f"{path} ({size}) cannot be read as a segmentation, because it is cut off or not what its reader expects: "
            f"{_in_one_line(error, path)}"
        ) from error
    labels, warning = whole_numbers(single_channel(array, path), path)
    spacing = tuple(float(width) for width in properties["spacing"])
    if not all(math.isfinite(width) and width > 0 for width in spacing):
        raise EvaluationError(
            f"{path} has voxels with the spacing {spacing}: write a positive number of mm for each axis into "
            "its header."
        )
    placement = _placement(properties)
    if labels.shape[0] == 1 and spacing[0] >= 0.999 * _FLAT * max(spacing[1:]):
        labels, spacing = labels[0], spacing[1:]
    unit: Unit = "px" if not placement and set(spacing) == {1.0} else "mm"
    return Segmentation(
        array=mapped(labels, values or {}),
        spacing=spacing,
        placement=_first_axes(placement, len(spacing)),
        unit=unit,
        path=path,
        warnings=() if warning is None else (warning,),
    )


def _in_one_line(error: Exception, path: Path) -> str:
    """The last line of a message, where readers say what is wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # ITK adds the latest error of the system, which is about some other file.
    if path.is_file() and len(lines) > 1 and lines[-1] == f"Reason: {os.strerror(errno.ENOENT)}":
        lines.pop()
    return lines[-1] if lines else type(error).__name__


def _first_axes(placement: dict[str, tuple[float, ...]], number: int) -> dict[str, tuple[float, ...]]:
    """Origin and direction of the first axes, of a file that has more: those have the length 1."""
    if len(placement.get("origin", ())) <= number:
        return placement
    size = len(placement["origin"])
    direction = np.reshape(placement["direction"], (size, size))[:number, :number]
    return {"origin": placement["origin"][:number], "direction": tuple(direction.ravel().tolist())}


def require_known_labels(segmentation: Segmentation, known: Collection[int] | None) -> None:
    """Refuse values that nobody has named, such as 255 for 1, which would pass for background.

    Args:
        segmentation: whose values are looked at.
        known: values besides 0 that it may have; None for any.

    Raises:
        EvaluationError: it has others.
    """
    if known is None:
        return
    values = np.unique(segmentation.array[segmentation.array != 0]).tolist()
    unknown = [value for value in values if value not in known]
    if unknown:
        few = ", ".join(map(str, unknown[:5])) + (", ..." if len(unknown) > 5 else "")
        raise EvaluationError(
            f"{segmentation.path} has the values {few}, which dataset.json does not name: "
            f"{remedy_for_values(unknown, known)}."
        )


def remedy_for_values(unknown: Sequence[float], known: Collection[int]) -> str:
    """What to do about values that dataset.json does not name.

    Args:
        unknown: the values, whole numbers.
        known: those that it names, with or without 0.
    """
    labels = sorted(set(known) - {0})
    # With several labels, of which one may mark what is ignored, nothing says which of them is meant. A negative value
    # would be taken for an option.
    if len(unknown) == len(labels) == 1 and unknown[0] > 0:
        value, label = int(unknown[0]), labels[0]
        return f"if {value} stands for label {label}, give --values {value}={label}, otherwise add it to dataset.json"
    return "add them to dataset.json, or replace them with --values OLD=NEW"


def _placement(properties: dict[str, Any]) -> dict[str, tuple[float, ...]]:
    stuff = dict(properties.get("sitk_stuff") or {})
    if nibabel := properties.get("nibabel_stuff"):
        # The affine of the array that the reader gives, which it may have turned.
        affine = np.asarray(nibabel.get("reoriented_affine", nibabel["original_affine"]), dtype=float)
        axes = affine[:3, :3]
        # Other programs write affines of zeros, or ones that put a whole row of voxels at one place.
        if np.isfinite(affine).all() and np.linalg.matrix_rank(axes) == 3:
            stuff = {"origin": affine[:3, 3], "direction": axes / np.linalg.norm(axes, axis=0)}
    return {name: tuple(np.ravel(stuff[name]).tolist()) for name in ("origin", "direction") if name in stuff}
