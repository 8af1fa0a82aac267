"""Sizes of lesions in nnU-Net's preprocessed segmentations, measured once and kept beside them."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnunetv2_mamba.files import written_aside
from nnunetv2_mamba.folders.segmentations import open_segmentation, segmentation_file

CACHE = Path("lesion_sizes", "voxels_per_label.json")
"""In a folder below the preprocessed cases: nnU-Net allows no other file beside them, and deletes both together."""

Classes = Sequence[int | Sequence[int]]
"""Foreground labels, or regions of several labels."""

Voxels = dict[int, int]
"""Number of voxels of each label."""


class CurriculumError(RuntimeError):
    """A curriculum of these training cases is not possible; the message says why and what to do."""


class LabelCounts:
    """Voxels of each label in preprocessed segmentations, from a cache where the file has not changed since.

    Args:
        folder: of the preprocessed cases.
        cases: their names.

    Raises:
        CurriculumError: the segmentation of a case is missing.
    """

    def __init__(self, folder: Path, cases: Sequence[str]) -> None:
        self.folder = folder
        try:
            self.files = {case: segmentation_file(folder, case) for case in cases}
        except FileNotFoundError as error:
            raise CurriculumError(str(error)) from error

    def known(self) -> dict[str, Voxels]:
        """Voxels of each label, for the cases whose file has not changed since it was measured for the cache."""
        cached = _read_cache(self.folder / CACHE)
        unchanged = [case for case, file in self.files.items() if cached.get(case, {}).get("stamp") == _stamp(file)]
        return {case: {int(label): count for label, count in cached[case]["voxels"].items()} for case in unchanged}

    def measure(self, cases: Sequence[str]) -> Iterator[tuple[str, Voxels]]:
        """Read the segmentations of cases one by one."""
        for case in cases:
            yield case, _count(self.files[case])

    def keep(self, voxels: Mapping[str, Voxels]) -> None:
        """Write counts into the cache; the counts of other cases stay in it.

        Raises:
            OSError: the folder cannot be written to.
        """
        path = self.folder / CACHE
        fresh = {case: {"stamp": _stamp(self.files[case]), "voxels": counts} for case, counts in voxels.items()}
        content = _read_cache(path) | fresh
        path.parent.mkdir(exist_ok=True)
        with written_aside(path) as aside:
            aside.write_text(json.dumps(content))


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


def _stamp(file: Path) -> list[int]:
    """Size of a file in bytes and time of its last change in ns, which show whether the file was written again."""
    status = file.stat()
    return [status.st_size, status.st_mtime_ns]


def _count(file: Path) -> Voxels:
    counts: Voxels = {}
    # Slice by slice, because bincount works on 64-bit copies.
    for plane in np.asarray(open_segmentation(file)[0]):
        lowest = int(plane.min())
        for label, voxels in enumerate(np.bincount(plane.ravel().astype(np.int64) - lowest), lowest):
            if voxels:
                counts[label] = counts.get(label, 0) + int(voxels)
    return counts


def _read_cache(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    # The cache is missing, not readable, or damaged by a full disk. It only saves time, so it is made again.
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
