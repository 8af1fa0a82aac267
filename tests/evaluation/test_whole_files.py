"""Files that are as long as their headers say, and files that are not."""

import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from nnunetv2_mamba.evaluation.images import read_segmentation
from nnunetv2_mamba.evaluation.whole_files import require_whole
from tests.evaluation.drawings import labels

FLAT = labels("""
    0120
    0000
    3001
""")
DEEP = np.stack([FLAT, np.zeros_like(FLAT)])

HEADER = 348
"""Bytes of a header of NIfTI-1, without the four that say whether extensions follow."""

VOXELS_AT = 108
"""Where a header of NIfTI-1 says how far its voxels are from the start of the file."""


def nifti(path: Path, array: np.ndarray, offset: float, between: bytes = b"") -> Path:
    """A NIfTI file that names an offset of its voxels, with some bytes between its header and its voxels."""
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
    header = bytearray(path.read_bytes()[:HEADER])
    struct.pack_into("<f", header, VOXELS_AT, offset)
    path.write_bytes(header + between + array.tobytes())
    return path


@pytest.mark.parametrize("kind", [np.uint8, np.float64])
@pytest.mark.parametrize(("offset", "between"), [(0, 0), (-1, 0), (348, 0), (352, 4), (416, 68)])
def test_voxels_lie_where_the_header_says_and_behind_it_where_it_says_nothing(tmp_path, kind, offset, between):
    path = nifti(tmp_path / "case.nii", DEEP.astype(kind), offset, bytes(between))
    assert (read_segmentation(SimpleITKIO(), path).array == DEEP).all()
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(OSError, match=r"case\.nii is cut off \(\d+ bytes\): copy or predict it again\.$"):
        require_whole(path)


@pytest.mark.parametrize("offset", [np.nan, np.inf, -np.inf, 1e30])
def test_an_offset_that_is_not_possible_is_said_in_a_sentence(tmp_path, offset):
    path = nifti(tmp_path / "case.nii", DEEP, offset)
    with pytest.raises(OSError, match=r"case\.nii .*cut off"):
        read_segmentation(SimpleITKIO(), path)
