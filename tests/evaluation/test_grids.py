"""Two segmentations are compared by where their voxels are, in fractions of a voxel."""

import struct
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nnunetv2.imageio.nibabel_reader_writer import NibabelIO, NibabelIOWithReorient
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from nnunetv2_mamba.evaluation.errors import GeometryError
from nnunetv2_mamba.evaluation.grids import TOLERANCE, compare_grids, displacement
from nnunetv2_mamba.evaluation.images import Segmentation, read_segmentation
from tests.evaluation.test_images import DEEP, write_sitk

READERS = pytest.mark.parametrize(
    "reader", [SimpleITKIO, NibabelIO, NibabelIOWithReorient], ids=lambda reader: reader.__name__
)
SAME = {"array": DEEP, "spacing": (0.5, 2.0, 3.0), "origin": (10.0, 20.0, 30.0)}


def pair(reader, tmp_path, **difference) -> tuple[Segmentation, Segmentation]:
    reference = write_sitk(tmp_path / "reference.nii.gz", **SAME)
    prediction = write_sitk(tmp_path / "prediction.nii.gz", **SAME | difference)
    return read_segmentation(reader(), reference), read_segmentation(reader(), prediction)


@READERS
@pytest.mark.parametrize(
    "difference",
    [{}, {"origin": (10.04, 20.0, 30.0)}, {"spacing": (0.5001, 2.0, 3.001)}, {"origin": (10.0, 20.19, 29.71)}],
)
def test_less_than_a_tenth_of_a_voxel_is_the_same_grid(reader, tmp_path, difference):
    assert compare_grids(*pair(reader, tmp_path, **difference)) is None


@READERS
@pytest.mark.parametrize(
    ("difference", "voxels"),
    [
        ({"origin": (10.06, 20.0, 30.0)}, "0.12"),
        ({"origin": (10.0, 20.0, 33.0)}, "1"),
        ({"spacing": (0.5, 3.0, 3.0)}, None),
    ],
)
def test_more_is_a_warning_with_both_files_and_a_way_to_confirm(reader, tmp_path, difference, voxels):
    reference, prediction = pair(reader, tmp_path, **difference)
    warning = compare_grids(reference, prediction)
    assert all(part in warning for part in (str(reference.path), str(prediction.path), "--geometry voxels"))
    assert voxels is None or f"up to {voxels} voxels away" in warning


def test_directions_that_differ_by_rounding_are_the_same_and_half_a_degree_is_not(tmp_path):
    for angle, expected in ((1e-4, True), (np.deg2rad(0.5), False)):
        rotation = [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
        array = np.zeros((2, 200, 200), np.uint8)
        files = [
            write_sitk(tmp_path / f"{name}.nii.gz", array, spacing=(1.0, 1.0, 1.0), direction=direction)
            for name, direction in (("reference", np.eye(3).tolist()), ("prediction", rotation))
        ]
        assert (compare_grids(*(read_segmentation(SimpleITKIO(), file) for file in files)) is None) == expected


def test_files_that_are_stored_in_another_order_are_compared_where_the_reader_turns_them(tmp_path):
    image = nibabel.Nifti1Image(DEEP.transpose(2, 1, 0), np.diag([0.5, 2.0, 3.0, 1.0]))
    turned = image.as_reoriented([[0, -1], [1, 1], [2, 1]])
    for name, stored in (("reference", image), ("prediction", turned)):
        nibabel.save(stored, tmp_path / f"{name}.nii.gz")
    files = [tmp_path / f"{name}.nii.gz" for name in ("reference", "prediction")]
    reference, prediction = (read_segmentation(NibabelIOWithReorient(), file) for file in files)
    assert compare_grids(reference, prediction) is None
    assert (reference.array == prediction.array).all()
    # The other reader leaves them as they are.
    assert compare_grids(*(read_segmentation(NibabelIO(), file) for file in files)) is not None


def test_a_file_without_a_header_is_compared_by_voxels_and_said(tmp_path):
    reference, _ = pair(SimpleITKIO, tmp_path)
    bare = write_sitk(tmp_path / "bare.mha", DEEP, spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0))
    warning = compare_grids(reference, read_segmentation(SimpleITKIO(), bare))
    assert warning.startswith(f"{bare} does not say where its voxels are")
    assert "with sizes by the spacing 3 2 0.5 of the reference" in warning


def with_affine(path: Path, affine: np.ndarray, spacing=(0.5, 2.0, 3.0)) -> Segmentation:
    """A NIfTI file with any affine, also one that nibabel itself would not write, as nnU-Net's NibabelIO reads it."""
    nibabel.save(nibabel.Nifti1Image(DEEP.transpose(2, 1, 0), np.diag([*spacing, 1.0])), path)
    content = bytearray(path.read_bytes())
    struct.pack_into("<12f", content, 280, *affine[:3].ravel())
    path.write_bytes(content)
    return read_segmentation(NibabelIO(), path)


FLAT_AFFINES = {
    "a column of zeros": [[0.5, 0, 0, 10], [0, 0, 0, 20], [0, 0, 3, 30]],
    "zeros only": np.zeros((3, 4)),
    "two parallel columns": [[0.5, 0.5, 0, 10], [0, 0, 0, 20], [0, 0, 3, 30]],
    "not a number": [[0.5, 0, 0, np.nan], [0, 2, 0, 20], [0, 0, 3, 30]],
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("affine", FLAT_AFFINES.values(), ids=FLAT_AFFINES.keys())
def test_an_affine_that_puts_voxels_at_the_same_place_says_nothing_of_where_they_are(tmp_path, affine):
    proper = np.array([[0.5, 0, 0, 10], [0, 2, 0, 20], [0, 0, 3, 30]])
    whole, flat = with_affine(tmp_path / "whole.nii", proper), with_affine(tmp_path / "flat.nii", np.array(affine))
    assert (flat.placement, flat.spacing) == ({}, (3.0, 2.0, 0.5))
    for reference, prediction in ((whole, flat), (flat, whole)):
        warning = compare_grids(reference, prediction)
        assert warning.startswith(f"{flat.path} does not say where its voxels are")
        assert "nan" not in warning
    assert compare_grids(flat, flat) is None
    coarse = with_affine(tmp_path / "coarse.nii", np.array(affine), spacing=(1.0, 2.0, 3.0))
    assert "(spacing 3 2 1 against spacing 3 2 0.5)" in compare_grids(flat, coarse)


def test_a_header_with_default_values_is_the_same_grid_within_the_tolerance():
    there, here = segmentation((3, 4, 5)), segmentation((3, 4, 5), origin=(0.02, 0.0, 0.0))
    assert compare_grids(there, here) is None
    assert compare_grids(here, there) is None


@pytest.mark.parametrize(("shape", "message"), [((2, 3), "has 2 axes"), ((4, 3, 2), "has the shape 4 x 3 x 2")])
def test_another_shape_is_refused(shape, message):
    reference = segmentation((2, 3, 4))
    with pytest.raises(GeometryError, match=message):
        compare_grids(reference, segmentation(shape))


def segmentation(shape, matrix=None, origin=None) -> Segmentation:
    """A segmentation whose header has such a matrix (x, y, z)."""
    size = len(shape)
    matrix = np.eye(size) if matrix is None else matrix
    spacing = np.linalg.norm(matrix, axis=0)
    placement = {
        "origin": tuple(np.zeros(size) if origin is None else origin),
        "direction": tuple((matrix / spacing).ravel()),
    }
    return Segmentation(np.zeros(shape, np.uint8), tuple(spacing[::-1]), placement, "mm", path="file")


def rotation(angles) -> np.ndarray:
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        i, j = [other for other in range(3) if other != axis]
        turn = np.eye(3)
        turn[[i, i, j, j], [i, j, i, j]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        matrix = matrix @ turn
    return matrix


angles = st.lists(st.floats(-3, 3), min_size=3, max_size=3)
vectors = st.lists(st.floats(-100, 100), min_size=3, max_size=3).map(np.array)
spacings = st.lists(st.floats(0.3, 5), min_size=3, max_size=3).map(np.array)


@given(angles, vectors, spacings, st.lists(st.floats(-2, 2), min_size=3, max_size=3).map(np.array))
def test_a_motion_of_both_changes_nothing_and_a_shift_counts_in_voxels(turn, move, spacing, shift):
    matrix = rotation(turn) * spacing
    there = segmentation((3, 4, 5), matrix, move)
    here = segmentation((3, 4, 5), matrix, move + matrix @ shift)
    assert displacement(there, here) == pytest.approx(np.abs(shift).max(), abs=1e-6)
    assert displacement(there, there) < 1e-9


@given(st.floats(0.01, 0.09), st.integers(0, 2))
def test_the_tolerance_is_a_tenth_of_a_voxel_of_each_axis(below, axis):
    spacing = np.array([0.5, 2.0, 3.0])
    there = segmentation((3, 4, 5), np.diag(spacing))
    for factor, expected in ((below, True), (2 * TOLERANCE - below, False)):
        shift = np.eye(3)[axis] * spacing * factor
        here = segmentation((3, 4, 5), np.diag(spacing), shift)
        assert (compare_grids(there, here) is None) == expected
