"""Lesions of hand-drawn masks."""

import numpy as np
import pytest

from nnunetv2_mamba.evaluation.lesions import Extent, label_volume, touching_border, touching_other
from tests.evaluation.drawings import labels

STAIRS = labels("""
1..  ...
.1.  ...
...  ..1
""")


@pytest.mark.parametrize(("connectivity", "number"), [("faces", 3), ("edges", 2), ("corners", 1)])
def test_neighbours_in_a_volume(connectivity, number):
    assert label_volume(STAIRS == 1, connectivity)[1] == number


@pytest.mark.parametrize(("connectivity", "number"), [("faces", 2), ("edges", 1), ("corners", 1)])
def test_neighbours_in_an_image(connectivity, number):
    assert label_volume(STAIRS[:1] == 1, connectivity)[1] == number


def test_the_part_around_the_lesions_holds_them_all_at_their_places():
    mask = np.zeros((5, 9, 9), dtype=bool)
    mask[2, 3, 4:6] = True
    lesions, number, box = label_volume(mask, "corners")
    assert number == 1
    assert np.array_equal(lesions > 0, mask)
    assert box == (slice(1, 4), slice(2, 5), slice(3, 7))


def test_an_empty_mask_has_no_lesions():
    lesions, number, box = label_volume(np.zeros((3, 4, 4), dtype=bool), "corners")
    assert number == 0
    assert not lesions.any()
    assert Extent.of(lesions[box], 0).voxels.shape == (0,)


def test_extent():
    lesions = labels("""
11.2  ...2  ...2
1..2  ...2  ....
""")
    extent = Extent.of(lesions, 3)
    assert extent.voxels.tolist() == [3, 5, 0]
    assert extent.largest_slice.tolist() == [3, 2, 0]
    assert extent.slices.tolist() == [1, 3, 0]
    assert extent.seen(slicewise=True).tolist() == [3, 2, 0]
    assert extent.seen(slicewise=False).tolist() == [3, 5, 0]


def test_border_of_an_image_and_of_a_volume():
    image = labels("""
1....
..2..
....3
""")
    assert touching_border(image[None], 3).tolist() == [True, False, True]
    volume = np.stack([np.zeros_like(image), image, np.zeros_like(image)])
    assert touching_border(volume, 3).tolist() == [True, False, True]
    assert touching_border(volume[1:], 3).tolist() == [True, True, True]


def test_touching_another_class_at_a_face_or_a_corner():
    lesions = labels("""
1......
...2..3
.......
""")[None]
    other = labels("""
.......
.1.....
....11.
""")[None]
    assert touching_other(lesions, 3, other == 1, "corners").tolist() == [True, True, True]
    assert touching_other(lesions, 3, other == 1, "faces").tolist() == [False, False, False]
    other[0, 2, 6] = 1
    assert touching_other(lesions, 3, other == 1, "faces").tolist() == [False, False, True]


def test_touching_across_slices():
    lesions, other = np.zeros((2, 3, 3, 3), dtype=int)
    lesions[0, 0, 0], other[1, 1, 1] = 1, 1
    assert touching_other(lesions, 1, other == 1, "corners").tolist() == [True]
    assert touching_other(lesions, 1, other == 1, "edges").tolist() == [False]
