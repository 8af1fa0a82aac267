"""Outlines of the lesions and components in a slice, as SVG paths."""

from collections.abc import Sequence

import contourpy
import numpy as np


def outline(mask: np.ndarray, scale: Sequence[float]) -> str:
    """Outline of a mask as the data of an SVG path.

    Args:
        mask: bool (H, W).
        scale: height and width of a pixel in the units of the picture.
    """
    # A margin of zeros closes the outlines of parts that touch the border.
    lines = contourpy.contour_generator(z=np.pad(mask, 1).astype(float)).lines(0.5) if mask.any() else []
    return "".join(_path((_corners(np.asarray(line)) - 0.5) * (scale[1], scale[0])) for line in lines)


def _corners(line: np.ndarray) -> np.ndarray:
    """A closed line (n, 2) without the points on its straight parts."""
    points = line[:-1]
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    turns = np.abs(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]) > 1e-9
    return points[turns]


def _path(points: np.ndarray) -> str:
    return "M" + "L".join(f"{x:.5g},{y:.5g}" for x, y in points) + "Z"
