"""The picture at the end of the demo: held-out tiles with their ground truth and the prediction."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.patches import Patch
from PIL import Image

from nnunetv2_mamba.demo.scores import DemoScores, format_score

# Colour-blind readers can tell cyan and magenta apart, and nothing on a grey fundus has these colours.
COLOURS = {1: "#19d3f3", 2: "#ff4fd8"}
TILES = 6
ROWS = 3


def spread_over_lesion_area(labels: Path, count: int = TILES) -> list[str]:
    """Cases at equal steps in the order of lesion area, smallest first; the prediction does not matter.

    Args:
        labels: folder of label images (H, W).
        count: how many cases; fewer where fewer have lesions.

    Returns:
        Case names. Cases without lesions are left out.
    """
    areas = {file.stem: int((read(file) > 0).sum()) for file in sorted(labels.glob("*.png"))}
    ordered = sorted((case for case in areas if areas[case]), key=lambda case: (areas[case], case))
    places = np.linspace(0, len(ordered) - 1, min(count, len(ordered))).round().astype(int)
    return [ordered[place] for place in places]


def read(file: Path) -> np.ndarray:
    """Pixels of an image file, (H, W) or (H, W, 3)."""
    return np.asarray(Image.open(file))


def draw(dataset: Path, predictions: Path, *, scores: list[DemoScores], trainer: str, out: Path) -> None:
    """Writes the picture.

    Args:
        dataset: raw dataset with ``imagesTs`` (H, W, 3) and ``labelsTs`` (H, W).
        predictions: folder of predicted label images (H, W).
        scores: Dice of each label, as printed in the title and under the tiles.
        trainer: name in the title.
        out: file to write.
    """
    cases = spread_over_lesion_area(dataset / "labelsTs")
    figure = Figure(figsize=(13.6, 8.9), dpi=110, facecolor="white", layout=None)
    halves = figure.add_gridspec(
        1, -(-len(cases) // ROWS), left=0.012, right=0.988, top=0.83, bottom=0.065, wspace=0.06
    )
    for index, case in enumerate(cases):
        column, row = divmod(index, ROWS)
        cells = halves[column].subgridspec(ROWS, 3, wspace=0.025, hspace=0.17)
        image = read(dataset / "imagesTs" / f"{case}_0000.png")
        overlays = [None, read(dataset / "labelsTs" / f"{case}.png"), read(predictions / f"{case}.png")]
        _tile(figure, cells, row=row, image=image, overlays=overlays, caption=_caption(case, scores))
    _headings(figure, dataset, scores=scores, trainer=trainer)
    figure.savefig(out)


def _tile(
    figure: Figure, cells: GridSpec, *, row: int, image: np.ndarray, overlays: list[np.ndarray | None], caption: str
) -> None:
    for column, (title, overlay) in enumerate(zip(("image", "ground truth", "prediction"), overlays, strict=True)):
        axes = figure.add_subplot(cells[row, column])
        axes.set_axis_off()
        if overlay is None:
            axes.imshow(image, interpolation="bicubic")
        else:
            _overlay(axes, image, overlay)
        if row == 0:
            axes.set_title(title, fontsize=12, pad=6)
        if column == 1:
            axes.text(0.5, -0.045, caption, transform=axes.transAxes, ha="center", va="top", fontsize=9.5)


def _overlay(axes: Axes, image: np.ndarray, labels: np.ndarray) -> None:
    # The green channel has the contrast of a fundus photograph. It is shown as grey, so that only classes have colours.
    green = image[..., 1].astype(float)
    low, high = np.percentile(green, (0.5, 99.5))
    grey = np.clip((green - low) / max(high - low, 1), 0, 1) * 0.8 + 0.05
    shown = np.repeat(grey[..., None], 3, axis=-1)
    for value, colour in COLOURS.items():
        inside = labels == value
        shown[inside] = 0.65 * shown[inside] + 0.35 * np.array(to_rgb(colour))
    axes.imshow(shown, interpolation="bicubic")
    for value, colour in COLOURS.items():
        # The rim of zeros closes the outline of a lesion that touches the border.
        inside = np.pad(labels == value, 1)
        if inside.any():
            axis = np.arange(-1, labels.shape[0] + 1), np.arange(-1, labels.shape[1] + 1)
            axes.contour(axis[1], axis[0], inside, levels=[0.5], colors=[colour], linewidths=1.4)
    axes.set(xlim=(-0.5, labels.shape[1] - 0.5), ylim=(labels.shape[0] - 0.5, -0.5))


def _caption(case: str, scores: list[DemoScores]) -> str:
    dice = "  ·  ".join(f"{score.label} {format_score(score.per_case[case])}" for score in scores)
    return f"{case}:  Dice {dice}"


def _headings(figure: Figure, dataset: Path, *, scores: list[DemoScores], trainer: str) -> None:
    number = len(list((dataset / "labelsTs").glob("*.png")))
    dice = ", ".join(
        f"{score.label} {format_score(score.mean)} ({format_score(score.pooled)} over pixels)" for score in scores
    )
    figure.text(0.5, 0.968, f"{trainer} on fundus photographs of unseen eyes", ha="center", fontsize=17, weight="bold")
    figure.text(0.5, 0.929, f"mean Dice of all {number} held-out tiles: {dice}", ha="center", fontsize=13)
    handles = [
        Patch(facecolor=(*to_rgb(colour), 0.35), edgecolor=colour, linewidth=1.4, label=score.label)
        for colour, score in zip(COLOURS.values(), scores, strict=True)
    ]
    figure.legend(handles=handles, loc="center", bbox_to_anchor=(0.5, 0.897), ncols=2, frameon=False, fontsize=12)
    rule = "Six held-out tiles at equal steps of lesion area, least to most, chosen without looking at the prediction."
    figure.text(0.012, 0.014, rule, fontsize=9, color="#555555")
    figure.text(0.988, 0.014, "Images: IDRiD, CC BY 4.0, doi:10.21227/H25W98", ha="right", fontsize=9, color="#555555")
