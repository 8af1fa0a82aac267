"""Differences to the baseline with their intervals, as a picture."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.ablation.rows import BASELINE, OPTIONAL

SCORES = ("Dice", "recall, small", "precision")
COLOUR, FAINT = "#1f5f99", "#8a8a8a"


def draw(report: Mapping[str, Any], file: Path) -> None:
    """One panel for each class and score: mean and interval of each row, and every seed as a dot.

    Args:
        report: of `report.compare`.
        file: PNG to write.
    """
    from matplotlib.figure import Figure

    classes = [(name, label) for name, dataset in report["datasets"].items() for label in dataset["lesions"]]
    figure = Figure(figsize=(11, 1.3 + 2.6 * len(classes)), layout="constrained")
    panels = figure.subplots(len(classes), len(SCORES), squeeze=False, sharey="row")
    for line, (name, label) in zip(panels, classes, strict=True):
        dataset = report["datasets"][name]
        for axes, score in zip(line, SCORES, strict=True):
            _panel(axes, {row: scores[label][score] for row, scores in dataset["to_baseline"].items()})
        steps = dataset["budget"]["epochs"] * dataset["budget"]["iterations"]
        line[0].set_ylabel(f"{label.replace('_', ' ')}\n{name}, {steps} steps", fontsize=8)
    for axes, score in zip(panels[0], SCORES, strict=True):
        axes.set_title(score, fontsize=10)
    for axes in panels[-1]:
        axes.set_xlabel(f"difference to {BASELINE}", fontsize=9)
    figure.suptitle(
        "Parts of S3-Mamba in short trainings, held-out images\n"
        f"large: mean over seeds with {report['level']:.0%} interval over images; small: single seeds",
        fontsize=11,
    )
    figure.savefig(file, dpi=130)


def _panel(axes: Any, differences: Mapping[str, Mapping[str, Any]]) -> None:
    names = list(differences)
    axes.axvline(0, color="black", linewidth=0.8)
    for height, (row, difference) in enumerate(differences.items()):
        colour = FAINT if row in OPTIONAL else COLOUR
        seeds = [value for value in difference["seeds"] if value is not None]
        axes.plot(seeds, [height + 0.25] * len(seeds), "o", color=colour, markersize=3, alpha=0.6)
        if difference["mean"] is not None:
            axes.plot(difference["interval"], [height, height], color=colour, linewidth=2)
            axes.plot(difference["mean"], height, "o", color=colour, markersize=6)
        else:
            axes.text(0, height, " nothing predicted", color=FAINT, fontsize=7, va="center")
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(axis="x", linewidth=0.4, alpha=0.6)
