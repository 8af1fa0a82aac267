"""Free-response ROC curves of small lesions, one panel for each class."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.small_lesions.curves import Counts, recall_at
from benchmarks.small_lesions.report import by_dataset, classes_of, strata_of

MOST_FALSE_POSITIVES = 4.0
COLOURS = ("#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999999")
"""Okabe and Ito's, which people with colour blindness tell apart."""


def draw(results: Path, file: Path, *, question: str, budget: str) -> None:
    """Draw the mean over the seeds of every trainer.

    Args:
        results: folder of the results.
        file: PNG.
        question: which results are drawn.
        budget: likewise.
    """
    datasets = by_dataset(results, question=question, budget=budget)
    panels = [(name, label) for name in sorted(datasets) for label in classes_of(datasets[name])]
    trainers = sorted({trainer for dataset in datasets.values() for trainer in dataset})
    figure = Figure(figsize=(4.2 * len(panels), 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (dataset, label) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        _panel(axes, datasets[dataset], label, trainers)
        axes.set_title(f"{dataset}, {label}", fontsize=9)
    handles, names = next(iter(figure.axes)).get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    figure.savefig(file, dpi=110, metadata={"Software": None})


def _panel(axes: Axes, trainers: Mapping[str, Mapping[int, Any]], label: str, all_trainers: list[str]) -> None:
    strata, grid = strata_of(trainers, label), np.linspace(0, MOST_FALSE_POSITIVES, 201)
    for trainer, colour in zip(all_trainers, COLOURS, strict=False):
        seeds = [Counts.of(content["cases"], label, strata) for content in trainers.get(trainer, {}).values()]
        curves = [
            [recall_at(*counts.curve("small", np.ones((1, len(counts.groups)))), at)[0] for at in grid]
            for counts in seeds
        ]
        # Drawn without points where a dataset lacks a trainer, so that every panel has the whole legend.
        mean = np.mean(curves, axis=0) if curves else np.full_like(grid, np.nan)
        axes.plot(grid, mean, color=colour, label=trainer, linewidth=1.5)
    axes.set(xlim=(0, MOST_FALSE_POSITIVES), ylim=(0, 1), xlabel="false positives per image")
    axes.set_ylabel("recall of small lesions")
    axes.grid(alpha=0.3)
