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


def metaimage(path: Path, array: np.ndarray, compressed: bool = False) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(array, isVector=False), str(path), compressed)
    return path


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "compressed"])
@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint32, np.int64, np.float32, np.float64])
def test_a_metaimage_is_whole_or_cut_off(tmp_path, kind, compressed):
    path = metaimage(tmp_path / "case.mha", DEEP.astype(kind), compressed)
    require_whole(path)
    assert (read_segmentation(SimpleITKIO(), path).array == DEEP).all()
    content = path.read_bytes()
    # The last byte, all voxels, and the rest of a line of the header.
    for kept in (len(content) - 1, content.index(b"LOCAL") + 6, content.index(b"ElementSpacing") + 4):
        path.write_bytes(content[:kept])
        with pytest.raises(OSError, match=rf"^\S+case\.mha is cut off \({kept} bytes\): copy or predict it again\.$"):
            read_segmentation(SimpleITKIO(), path)


def test_a_metaimage_with_channels_is_whole(tmp_path):
    image = sitk.GetImageFromArray(np.stack([DEEP, DEEP], -1), isVector=True)
    path = tmp_path / "case.mha"
    sitk.WriteImage(image, str(path))
    require_whole(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(OSError, match="is cut off"):
        require_whole(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"MET_UCHAR", b"MET_OTHER"),
        (b"BinaryData = True", b"BinaryData = False"),
        (b"ElementDataFile = LOCAL", b"ElementDataFile = case.raw"),
        (b"DimSize = 4 3 2", b"DimSize = many"),
        (b"CompressedData = False", b"CompressedData = True"),
        (b"BinaryData = True", b"BinaryData = True\nHeaderSize = 40"),
    ],
)
def test_a_metaimage_whose_length_is_not_known_is_left_to_its_reader(tmp_path, old, new):
    path = metaimage(tmp_path / "case.mha", DEEP)
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new)[:-1])
    require_whole(path)


def test_a_damaged_metaimage_is_not_said_to_be_missing(tmp_path):
    path = metaimage(tmp_path / "case.mha", DEEP)
    path.write_bytes(path.read_bytes().replace(b"DimSize = 4 3 2", b"DimSize = many"))
    with pytest.raises(
        OSError, match=r"case\.mha \(\d+ bytes\) cannot be read as a segmentation, .*File cannot"
    ) as error:
        read_segmentation(SimpleITKIO(), path)
    assert "No such file" not in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_a_metaimage_is_not_called_cut_off(tmp_path):
    """`require_whole` raises where it is."""
    for content in (b"not an image", b"a = b\n" * 3000, bytes(range(256)) * 100):
        (tmp_path / "case.mha").write_bytes(content)
        require_whole(tmp_path / "case.mha")
