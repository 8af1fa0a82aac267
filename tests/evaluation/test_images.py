"""Files of every kind that nnU-Net reads, and two segmentations that are not of one grid."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
from nnunetv2.imageio.nibabel_reader_writer import NibabelIO
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from nnunetv2.imageio.tif_reader_writer import Tiff3DIO
from PIL import Image

from nnunetv2_mamba.evaluation.errors import EvaluationError
from nnunetv2_mamba.evaluation.images import (
    read_segmentation,
    remedy_for_values,
    require_known_labels,
)
from tests.evaluation.drawings import labels

FLAT = labels("""
    0120
    0000
    3001
""")
DEEP = np.stack([FLAT, np.zeros_like(FLAT)])


def write_sitk(path: Path, array: np.ndarray, spacing=None, origin=None, direction=None) -> Path:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing or (0.5, 2.0, 3.0)[: array.ndim])
    image.SetOrigin(origin or (10.0, 20.0, 30.0)[: array.ndim])
    if direction is not None:
        image.SetDirection(np.ravel(direction).tolist())
    sitk.WriteImage(image, str(path))
    return path


def test_png(tmp_path):
    Image.fromarray(FLAT).save(tmp_path / "case.png")
    segmentation = read_segmentation(NaturalImage2DIO(), tmp_path / "case.png")
    assert (segmentation.array == FLAT).all()
    assert (segmentation.spacing, segmentation.unit, segmentation.placement) == ((1.0, 1.0), "px", {})


def test_two_dimensional_nifti(tmp_path):
    # SimpleITK has (x, y), arrays have (y, x).
    path = write_sitk(tmp_path / "case.nii.gz", FLAT, spacing=(0.5, 2.0))
    segmentation = read_segmentation(SimpleITKIO(), path)
    assert (segmentation.array == FLAT).all()
    assert (segmentation.spacing, segmentation.unit) == (pytest.approx((2.0, 0.5)), "mm")
    assert segmentation.placement["origin"] == (10.0, 20.0)


def test_pixels_of_1_mm_are_not_pixels_without_a_size(tmp_path):
    path = write_sitk(tmp_path / "case.nii.gz", FLAT, spacing=(1.0, 1.0))
    assert read_segmentation(SimpleITKIO(), path).unit == "mm"


@pytest.mark.parametrize("reader", [SimpleITKIO, NibabelIO], ids=lambda reader: reader.__name__)
def test_volumes(reader, tmp_path):
    segmentation = read_segmentation(reader(), write_sitk(tmp_path / "case.nii.gz", DEEP))
    assert (segmentation.array == DEEP).all()
    assert (segmentation.spacing, segmentation.unit) == (pytest.approx((3.0, 2.0, 0.5)), "mm")
    assert np.abs(segmentation.placement["origin"]).tolist() == [10.0, 20.0, 30.0]


def test_one_slice_is_a_volume(tmp_path):
    segmentation = read_segmentation(SimpleITKIO(), write_sitk(tmp_path / "case.nii.gz", FLAT[None]))
    assert segmentation.array.shape == (1, 3, 4)
    assert len(segmentation.spacing) == 3


def test_tiff_without_a_spacing_has_voxels(tmp_path):
    tifffile.imwrite(tmp_path / "case.tif", DEEP)
    segmentation = read_segmentation(Tiff3DIO(), tmp_path / "case.tif")
    assert (segmentation.array == DEEP).all()
    assert segmentation.unit == "px"


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    path = tmp_path / "case.nii"
    path.write_bytes(b"not an image")
    with pytest.raises(OSError, match=r"case\.nii \(12 bytes\) cannot be read as a segmentation, because "):
        read_segmentation(SimpleITKIO(), path)


def test_values_without_a_name_are_refused(tmp_path):
    Image.fromarray(FLAT).save(tmp_path / "case.png")
    segmentation = read_segmentation(NaturalImage2DIO(), tmp_path / "case.png")
    require_known_labels(segmentation, None)
    require_known_labels(segmentation, frozenset({1, 2, 3}))
    with pytest.raises(EvaluationError, match=r"case\.png has the values 2, 3, which dataset\.json does not name"):
        require_known_labels(segmentation, frozenset({0, 1}))


@pytest.mark.parametrize(
    ("unknown", "known", "suggested"),
    [
        ([255], {0, 1}, "255=1"),
        # As inspect counts values.
        ([255.0], {0, 1}, "255=1"),
        ([2**32 + 1], {1}, "4294967297=1"),
        ([255], {0, 4}, "255=4"),
        ([255], {0, 1, 2}, None),
        ([128, 255], {0, 1}, None),
        # The command line would take the word for an option.
        ([-1], {0, 1}, None),
        ([255], {0}, None),
    ],
)
def test_a_replacement_is_suggested_where_only_one_label_can_be_meant(unknown, known, suggested):
    remedy = remedy_for_values(unknown, known)
    if suggested is None:
        assert remedy == "add them to dataset.json, or replace them with --values OLD=NEW"
    else:
        value, _, label = suggested.partition("=")
        assert (
            remedy
            == f"if {value} stands for label {label}, give --values {suggested}, otherwise add it to dataset.json"
        )
