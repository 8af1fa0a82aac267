"""Outlines and marks of the lesions in a slice, in the units of a picture."""

from collections.abc import Sequence

import contourpy
import numpy as np
from scipy import ndimage

KINDS = ("predicted", "found", "missed", "invented")
"""Predicted are the components that are right; they lie below the others."""

MARKED_BELOW = 0.07
"""Parts whose extent is a smaller share of the picture's longer side get a mark that is easier to see than they are."""


DRAWN = 200
"""Parts of a kind that are drawn in a slice: more are noise to look at, and a page that no browser likes."""


def largest(labels: np.ndarray, chosen: Sequence[int]) -> tuple[np.ndarray, int]:
    """Numbers of the largest parts in a slice, at most `DRAWN`, and how many others there are.

    Args:
        labels: number of the part at each pixel (H, W).
        chosen: numbers of the parts to take them from.
    """
    numbers, pixels = np.unique(labels[np.isin(labels, chosen)], return_counts=True)
    return numbers[np.argsort(-pixels, kind="stable")[:DRAWN]], max(len(numbers) - DRAWN, 0)


def outline(mask: np.ndarray, scale: Sequence[float]) -> str:
    """Outline of a mask (H, W) as the data of an SVG path.

    Args:
        mask: bool (H, W).
        scale: height and width of a pixel in the units of the picture.
    """
    if not mask.any():
        return ""
    rows, columns = (
        slice(max(int(there[0]) - 1, 0), int(there[-1]) + 2)
        for there in (np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0)))
    )
    # A rim of zeros closes the outlines of what touches the border.
    inside = np.pad(mask[rows, columns], 1).astype(float)
    lines = contourpy.contour_generator(z=inside).lines(0.5)
    offset = np.array([columns.start - 0.5, rows.start - 0.5])
    return "".join(_path((_corners(np.asarray(line)) + offset) * (scale[1], scale[0])) for line in lines)


def _corners(line: np.ndarray) -> np.ndarray:
    """A closed line (n, 2) without the points between which it goes straight on."""
    points = line[:-1]
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    turns = np.abs(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]) > 1e-9
    return points[turns]


def _path(points: np.ndarray) -> str:
    return "M" + "L".join(f"{x:.5g},{y:.5g}" for x, y in points) + "Z"


def marks(labels: np.ndarray, kind: str, chosen: np.ndarray, scale: Sequence[float]) -> list[str]:
    """A ring around each small missed lesion in a slice, or an arrow to each invented one, as data of SVG paths.

    Args:
        labels: number of the part at each pixel (H, W).
        kind: of the parts to mark, ``missed`` or ``invented``.
        chosen: numbers of these parts (parts,).
        scale: height and width of a pixel in the units of the picture.
    """
    wanted = np.where(np.isin(labels, chosen), labels, 0).astype(np.int64)
    height, width = labels.shape[0] * scale[0], labels.shape[1] * scale[1]
    longer = max(height, width)
    found = []
    for box in ndimage.find_objects(wanted):
        if box is None:
            continue
        (top, bottom), (left, right) = (
            (side.start * unit, side.stop * unit) for side, unit in zip(box, scale, strict=True)
        )
        extent = max(bottom - top, right - left)
        if extent < MARKED_BELOW * longer:
            x, y, radius = (left + right) / 2, (top + bottom) / 2, extent / 2 + 0.014 * longer
            # Arrows come from above and from the right, unless that is outside of the picture.
            sideways, upwards = (-1 if x > 0.92 * width else 1), (1 if y < 0.08 * height else -1)
            arrow = _arrow(x, y, radius, 0.06 * longer, sideways, upwards)
            found.append(_ring(x, y, radius) if kind == "missed" else arrow)
    return found


def _ring(x: float, y: float, radius: float) -> str:
    arc = f"a{radius:.4g},{radius:.4g} 0 1,0"
    return f"M{x - radius:.5g},{y:.5g}{arc} {2 * radius:.4g},0{arc} {-2 * radius:.4g},0z"


def _arrow(x: float, y: float, gap: float, length: float, sideways: int, upwards: int) -> str:
    step = 0.5**0.5
    tip = x + sideways * gap * step, y + upwards * gap * step
    tail = sideways * length * step, upwards * length * step
    head = 0.55 * length * step
    point = f"M{tip[0]:.5g},{tip[1]:.5g}"
    return f"{point}l{tail[0]:.4g},{tail[1]:.4g}{point}h{sideways * head:.4g}{point}v{upwards * head:.4g}"
