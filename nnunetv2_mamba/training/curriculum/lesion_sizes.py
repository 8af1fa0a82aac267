"""Sizes of lesions in nnU-Net's preprocessed segmentations, measured once and kept beside them."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetBaseDataset
from tqdm import tqdm

CACHE = Path("lesion_sizes", "voxels_per_label.json")
"""Below the preprocessed data: nnU-Net tolerates no other file among them, and deletes the folder with them."""

SEGMENTATION_SUFFIXES = ("_seg.b2nd", ".npz")

Classes = Sequence[int | Sequence[int]]
"""Foreground labels, or regions of several labels."""


class CurriculumError(RuntimeError):
    """There is nothing to base a curriculum on; the message says why and what to do."""


class LabelCounts:
    """Voxels of each label in each preprocessed segmentation, from a cache where the file has not changed since.

    Args:
        dataset: nnU-Net's dataset of the cases.

    Raises:
        CurriculumError: the segmentation of a case is not there.
    """

    def __init__(self, dataset: nnUNetBaseDataset) -> None:
        self.dataset = dataset
        self.folder = Path(dataset.source_folder)
        self.stamps = {case: _stamp(self.folder, case) for case in dataset.identifiers}

    def read(self, cases: Sequence[str], show_progress: bool = True) -> dict[str, dict[int, int]]:
        """Voxels of each label, by case.

        Args:
            cases: of the dataset, or a share of them.
            show_progress: whether a progress bar appears while segmentations are read.
        """
        known = _read_cache(self.folder / CACHE)
        unchanged = [case for case in cases if known.get(case, {}).get("stamp") == self.stamps[case]]
        counts = {case: known[case]["voxels"] for case in unchanged}
        missing = [case for case in cases if case not in counts]
        for case in tqdm(missing, "measuring lesions", disable=not (show_progress and missing), leave=False):
            counts[case] = _count(self.dataset.load_case(case)[1])
        return {case: {int(label): voxels for label, voxels in counts[case].items()} for case in cases}

    def keep(self, counts: Mapping[str, Mapping[int, int]]) -> None:
        """Write counts into the cache, beside what it holds of other cases; aside first, so that it is never partial.

        Raises:
            OSError: the folder cannot be written to.
        """
        path = self.folder / CACHE
        fresh = {case: {"stamp": self.stamps[case], "voxels": dict(voxels)} for case, voxels in counts.items()}
        content = _read_cache(path) | fresh
        path.parent.mkdir(exist_ok=True)
        # Trainings of several folds may write at the same time.
        aside = path.with_suffix(f".{os.getpid()}")
        try:
            aside.write_text(json.dumps(content))
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)


def lesion_size(voxels: Mapping[int, int], classes: Classes, ignore_label: int | None = None) -> float:
    """Share of an image that its foreground covers; with several classes, that of the smallest one present.

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


def _stamp(folder: Path, case: str) -> list[int]:
    """What changes when a segmentation is written anew: size in bytes, time of the last change in ns."""
    for suffix in SEGMENTATION_SUFFIXES:
        path = folder / f"{case}{suffix}"
        if path.is_file():
            status = path.stat()
            return [status.st_size, status.st_mtime_ns]
    raise CurriculumError(
        f"training case {case} has no preprocessed segmentation in {folder}: "
        "run nnUNetv2_preprocess again, or take it out of splits_final.json."
    )


def _count(segmentation: Any) -> dict[int, int]:
    counts: dict[int, int] = {}
    # Slice by slice: bincount works on 64-bit copies.
    for plane in np.asarray(segmentation[0]):
        lowest = int(plane.min())
        for label, voxels in enumerate(np.bincount(plane.ravel().astype(np.int64) - lowest), lowest):
            if voxels:
                counts[label] = counts.get(label, 0) + int(voxels)
    return counts


def _read_cache(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    # Not there, not readable, or damaged by a full disk: it only saves time, so it is made anew.
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
