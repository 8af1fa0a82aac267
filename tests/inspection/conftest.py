"""Tiny datasets: label arrays that a reader gives out by name, and preprocessed cases in nnU-Net's format."""

import pickle
from pathlib import Path

import blosc2
import numpy as np
import pytest

from nnunetv2_mamba.evaluation.targets import Target
from nnunetv2_mamba.folders.preprocessed import Preprocessed
from nnunetv2_mamba.inspection.case import InspectionFiles, Job, inspect_case
from nnunetv2_mamba.inspection.summary import Setting, summarize


class ArrayReader:
    """Reads arrays as nnU-Net's readers read files: images as volumes of one slice with a huge first spacing."""

    def __init__(self, arrays: dict[str, np.ndarray], spacing: tuple[float, ...]) -> None:
        self.arrays, self.spacing = arrays, spacing

    def read_seg(self, seg_fname: str) -> tuple[np.ndarray, dict]:
        array = self.arrays[seg_fname].astype(np.float32)
        if array.ndim == 2:
            return array[None, None], {"spacing": (999 * max(self.spacing), *self.spacing)}
        return array[None], {"spacing": self.spacing, "sitk_stuff": {"origin": (0, 0, 0)}}


def save_preprocessed(
    folder: Path,
    case: str,
    segmentation: np.ndarray,
    shape: tuple[int, ...],
    spacing: tuple[float, ...],
    box: list[list[int]] | None = None,
) -> Path:
    """Write a segmentation (z, y, x) made from an image of some transposed shape and original spacing."""
    path = folder / f"{case}_seg.b2nd"
    blosc2.asarray(np.ascontiguousarray(segmentation[None].astype(np.int16)), urlpath=str(path))
    box = box or [[0, size] for size in shape]
    properties = {"spacing": spacing, "shape_before_cropping": shape, "bbox_used_for_cropping": box}
    (folder / f"{case}.pkl").write_bytes(pickle.dumps(properties))
    return path


@pytest.fixture
def summary_of():
    """A summary of arrays by case name, without files."""

    def summary_of(
        arrays: dict[str, np.ndarray],
        spacing: tuple[float, ...] = (1.0, 1.0),
        targets: tuple[Target, ...] = (Target("blob", (1,)),),
        setting: Setting | None = None,
        preprocessed: Preprocessed | None = None,
        **job,
    ) -> dict:
        setting = setting or Setting(min_voxels=3)
        grid = None if setting.plan is None else setting.plan.spacing
        known = {} if preprocessed is None else preprocessed.files()
        whole = Job(ArrayReader(arrays, spacing), targets, grid=grid, preprocessed=preprocessed, **job)
        cases = [inspect_case(whole, InspectionFiles(case, Path(case), known.get(case))) for case in arrays]
        return summarize(cases, whole, setting)

    return summary_of
