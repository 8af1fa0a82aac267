"""Outlines lie around the voxels, and marks around what is too small to see."""

import re

import numpy as np
import pytest

from nnunetv2_mamba.report.outlines import DRAWN, largest, marks, outline


def points(path):
    return np.array([[float(x), float(y)] for x, y in re.findall(r"[ML](-?[\d.]+),(-?[\d.]+)", path)])


def mask(*voxels, shape=(10, 20)):
    drawn = np.zeros(shape, dtype=bool)
    for voxel in voxels:
        drawn[voxel] = True
    return drawn


def test_a_pixel_is_outlined_around_its_middle():
    around = points(outline(mask((3, 7)), (1, 1)))
    assert around.mean(axis=0).tolist() == [7.5, 3.5]
    assert np.abs(around - (7.5, 3.5)).max() == 0.5


def test_outlines_are_stretched_like_the_pixels():
    around = points(outline(mask((3, 7)), (4, 1)))
    assert around.mean(axis=0).tolist() == [7.5, 14.0]


def test_an_outline_at_the_border_is_closed_and_inside():
    path = outline(mask((0, 0), (9, 19)), (1, 1))
    assert path.count("M") == path.count("Z") == 2
    assert points(path).min() >= 0
    assert (points(path).max(axis=0) <= (20, 10)).all()


def test_a_hole_has_an_outline_of_its_own_and_straight_lines_no_points_in_between():
    ring = np.ones((10, 10), dtype=bool)
    ring[4:6, 4:6] = False
    path = outline(ring, (1, 1))
    assert path.count("M") == 2
    assert len(points(path)) == 16


def test_nothing_has_no_outline():
    assert outline(mask(), (1, 1)) == ""


def test_small_parts_are_marked_and_large_ones_are_not():
    labels = np.zeros((100, 100), dtype=np.uint32)
    labels[50, 50], labels[10:60, 70:90] = 1, 2
    ring, *others = marks(labels, "missed", [1, 2], (1, 1))
    assert others == []
    assert ring.endswith("z")
    x, y, radius = map(float, re.match(r"M([\d.]+),([\d.]+)a([\d.]+),", ring).groups())
    assert (x + radius, y) == pytest.approx((50.5, 50.5))
    assert radius > 1


@pytest.mark.parametrize("place", [(0, 0), (0, 99), (99, 0), (99, 99), (50, 50)])
def test_arrows_lie_within_the_picture_and_point_at_the_part(place):
    labels = np.zeros((100, 100), dtype=np.uint32)
    labels[place] = 7
    (arrow,) = marks(labels, "invented", [7], (1, 1))
    x, y, right, down = map(float, re.match(r"M([-\d.]+),([-\d.]+)l([-\d.]+),([-\d.]+)M", arrow).groups())
    assert 0 <= x + right <= 100
    assert 0 <= y + down <= 100
    tip, tail = np.hypot(x - place[1], y - place[0]), np.hypot(x + right - place[1], y + down - place[0])
    assert tip < 4 < tail


def test_parts_of_other_slices_are_not_marked():
    assert marks(np.zeros((10, 10), dtype=np.uint32), "missed", [1, 2], (1, 1)) == []


def test_the_largest_parts_are_drawn():
    labels = np.zeros((40, 40), dtype=np.uint32)
    labels.flat[: 2 * DRAWN + 10 : 2] = np.arange(1, DRAWN + 6)
    labels[30:35, 30:35] = DRAWN + 5
    labels[39, 39] = DRAWN + 9
    numbers, left = largest(labels, range(3, DRAWN + 6))
    assert (len(numbers), left) == (DRAWN, 3)
    assert numbers[0] == DRAWN + 5
    assert {1, 2, DRAWN + 9}.isdisjoint(numbers)
    numbers, left = largest(labels, [7, 8, DRAWN + 100])
    assert (sorted(numbers), left) == ([7, 8], 0)
