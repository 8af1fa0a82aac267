"""Lesions followed into a resampled mask."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nnunetv2_mamba.evaluation.lesions import label_volume
from nnunetv2_mamba.inspection.resampled import extent_after
from tests.evaluation.drawings import labels


def test_half_the_resolution():
    lesions = labels("""
11..2...
11......
....3333
....3333
""")[None]
    resampled = labels("""
1...
..11
""")[None]
    extent = extent_after(lesions, 3, resampled == 1)
    assert extent.voxels.tolist() == [1, 0, 2]


def test_lesions_that_merge_are_still_told_apart():
    lesions = labels("""
11.22222
11.22222
""")[None]
    resampled = np.ones((1, 1, 4), dtype=bool)
    # Centres at 0.5, 2.5, 4.5 and 6.5: the second lies between nothing and lesion 2.
    assert extent_after(lesions, 2, resampled).voxels.tolist() == [1, 3]


def test_a_lesion_that_breaks_apart_is_still_one():
    lesions = labels("1111111")[None]
    assert extent_after(lesions, 1, labels("11.11.1")[None] == 1).voxels.tolist() == [5]


def test_anisotropic_volume():
    lesions = np.zeros((2, 4, 4), dtype=int)
    lesions[0, :2, :2], lesions[:, 2:, 2:] = 1, 2
    # Slices are doubled, rows and columns halved.
    resampled = np.zeros((4, 2, 2), dtype=bool)
    resampled[:2, 0, 0], resampled[:, 1, 1] = True, True
    extent = extent_after(lesions, 2, resampled)
    assert extent.voxels.tolist() == [2, 4]
    assert extent.slices.tolist() == [2, 4]
    assert extent.largest_slice.tolist() == [1, 1]


def test_what_is_near_no_lesion_belongs_to_none():
    assert extent_after(labels("1...")[None], 1, labels("1..1")[None] == 1).voxels.tolist() == [1]


@given(
    st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=4, max_size=4),
    st.integers(1, 3),
    st.integers(1, 3),
)
def test_repeated_voxels_multiply_every_lesion(rows, vertically, horizontally):
    mask = np.array([rows])
    lesions, number, _ = label_volume(mask, "corners")
    finer = mask.repeat(vertically, axis=1).repeat(horizontally, axis=2)
    sizes = np.bincount(lesions.ravel(), minlength=number + 1)[1:]
    assert extent_after(lesions, number, finer).voxels.tolist() == (sizes * vertically * horizontally).tolist()
