"""Outlines lie around the voxels."""

import re

import numpy as np

from nnunetv2_mamba.report.outlines import outline


def points(path):
    return np.array([[float(x), float(y)] for x, y in re.findall(r"[ML](-?[\d.]+),(-?[\d.]+)", path)])


def mask(*voxels, shape=(10, 20)):
    drawn = np.zeros(shape, dtype=bool)
    for voxel in voxels:
        drawn[voxel] = True
    return drawn


def test_a_pixel_is_outlined_around_its_middle_in_the_units_of_the_picture():
    around = points(outline(mask((3, 7)), (1, 1)))
    assert around.mean(axis=0).tolist() == [7.5, 3.5]
    assert np.abs(around - (7.5, 3.5)).max() == 0.5
    assert points(outline(mask((3, 7)), (4, 1))).mean(axis=0).tolist() == [7.5, 14.0]


def test_an_outline_at_the_border_is_closed_and_inside():
    path = outline(mask((0, 0), (9, 19)), (1, 1))
    assert path.count("M") == path.count("Z") == 2
    assert points(path).min() >= 0
    assert (points(path).max(axis=0) <= (20, 10)).all()


def test_a_hole_has_an_outline_and_straight_lines_have_no_points_in_between():
    ring = np.ones((10, 10), dtype=bool)
    ring[4:6, 4:6] = False
    path = outline(ring, (1, 1))
    assert path.count("M") == 2
    assert len(points(path)) == 16


def test_nothing_has_no_outline():
    assert outline(mask(), (1, 1)) == ""
