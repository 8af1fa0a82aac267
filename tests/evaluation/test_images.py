"""Files of every kind that nnU-Net reads, and two segmentations that are not of one grid."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
from nnunetv2.imageio.nibabel_reader_writer import NibabelIO, NibabelIOWithReorient
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from nnunetv2.imageio.tif_reader_writer import Tiff3DIO
from PIL import Image

from nnunetv2_mamba.evaluation.errors import EvaluationError
from nnunetv2_mamba.evaluation.images import (
    GeometryError,
    read_segmentation,
    require_known_labels,
    require_same_grid,
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


@pytest.mark.parametrize("content", [None, b"not an image"])
def test_a_file_that_cannot_be_read_is_named(content, tmp_path):
    path = tmp_path / "case.nii.gz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(OSError, match=r"case\.nii\.gz cannot be read as a segmentation: "):
        read_segmentation(SimpleITKIO(), path)


TURNED = [[0, 1, 0], [1, 0, 0], [0, 0, 1]]


@pytest.mark.parametrize("reader", [SimpleITKIO, NibabelIO, NibabelIOWithReorient], ids=lambda reader: reader.__name__)
@pytest.mark.parametrize(
    ("difference", "what"),
    [
        ({"array": DEEP[:, :, 1:]}, "shape"),
        ({"spacing": (0.5, 2.0, 3.1)}, "spacing"),
        ({"origin": (10.0, 20.0, 31.0)}, "origin"),
        ({"direction": TURNED}, "direction"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_another_grid_is_refused_and_both_files_are_named(reader, difference, what, tmp_path):
    # As many voxels on each axis, so that turning changes the direction only.
    same = {"array": np.zeros((3, 3, 3), np.uint8), "spacing": (1.0, 1.0, 1.0)} if what == "direction" else {}
    same = {"array": DEEP, "spacing": (0.5, 2.0, 3.0), "origin": (10.0, 20.0, 30.0)} | same
    reference = read_segmentation(reader(), write_sitk(tmp_path / "reference.nii.gz", **same))
    prediction = read_segmentation(reader(), write_sitk(tmp_path / "prediction.nii.gz", **same | difference))
    if (reader, what) == (NibabelIOWithReorient, "direction"):
        # It turns both to the same direction, and they cover the same voxels.
        require_same_grid(reference, prediction)
        return
    with pytest.raises(GeometryError, match=f"has the {what} ") as error:
        require_same_grid(reference, prediction)
    assert all(str(segmentation.path) in str(error.value) for segmentation in (reference, prediction))
    assert str(error.value).endswith("compare with the reference it was made for.")


@pytest.mark.parametrize("reader", [SimpleITKIO, NibabelIO], ids=lambda reader: reader.__name__)
def test_what_formats_round_away_is_no_other_grid(reader, tmp_path):
    reference = write_sitk(tmp_path / "reference.nii.gz", DEEP)
    prediction = write_sitk(
        tmp_path / "prediction.nii.gz", DEEP, spacing=(0.5001, 2.0, 3.001), origin=(10.003, 20.0, 30.0)
    )
    require_same_grid(read_segmentation(reader(), reference), read_segmentation(reader(), prediction))


def test_a_slight_rotation_is_refused_by_every_reader(tmp_path):
    # Half a degree moves the far end of 200 voxels by almost two.
    angle = np.deg2rad(0.5)
    rotation = [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    same = {"array": DEEP, "spacing": (1.0, 1.0, 1.0)}
    files = [
        write_sitk(tmp_path / "reference.nii.gz", **same),
        write_sitk(tmp_path / "prediction.nii.gz", **same, direction=rotation),
    ]
    for reader in (SimpleITKIO(), NibabelIO(), NibabelIOWithReorient()):
        with pytest.raises(GeometryError, match=r"has the (direction|origin) "):
            require_same_grid(*(read_segmentation(reader, path) for path in files))


def test_files_that_are_stored_in_another_order_are_compared_where_the_reader_turns_them(tmp_path):
    affine = np.diag([0.5, 2.0, 3.0, 1.0])
    image = nibabel.Nifti1Image(DEEP.transpose(2, 1, 0), affine)
    turned = image.as_reoriented([[0, -1], [1, 1], [2, 1]])
    for name, stored in (("reference", image), ("prediction", turned)):
        nibabel.save(stored, tmp_path / f"{name}.nii.gz")
    reference, prediction = (
        read_segmentation(NibabelIOWithReorient(), tmp_path / f"{name}.nii.gz") for name in ("reference", "prediction")
    )
    require_same_grid(reference, prediction)
    assert (reference.array == prediction.array).all()
    # The other reader leaves them as they are.
    as_stored = [read_segmentation(NibabelIO(), segmentation.path) for segmentation in (reference, prediction)]
    with pytest.raises(GeometryError, match="has the origin "):
        require_same_grid(*as_stored)


def test_a_compressed_file_that_is_cut_off_is_refused(tmp_path):
    random = np.random.default_rng(0).integers(0, 2, (20, 30, 30), dtype=np.uint8)
    path = write_sitk(tmp_path / "case.nii.gz", random)
    assert (read_segmentation(SimpleITKIO(), path).array == random).all()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(OSError, match=r"case\.nii\.gz cannot be read as a segmentation: Compressed file ended"):
        read_segmentation(SimpleITKIO(), path)


def test_values_without_a_name_are_refused(tmp_path):
    Image.fromarray(FLAT).save(tmp_path / "case.png")
    segmentation = read_segmentation(NaturalImage2DIO(), tmp_path / "case.png")
    require_known_labels(segmentation, None)
    require_known_labels(segmentation, frozenset({1, 2, 3}))
    with pytest.raises(EvaluationError, match=r"case\.png has the values 2, 3, which dataset\.json does not name"):
        require_known_labels(segmentation, frozenset({0, 1}))


def test_an_origin_may_differ_by_a_hundredth_of_a_voxel(tmp_path):
    there, near, far = (
        read_segmentation(
            SimpleITKIO(), write_sitk(tmp_path / f"{shift}.nii.gz", DEEP, origin=(10.0 + shift, 20.0, 30.0))
        )
        for shift in (0.0, 0.004, 0.1)
    )
    require_same_grid(there, near)
    with pytest.raises(GeometryError, match="has the origin"):
        require_same_grid(there, far)
