"""The plots of a report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogFormatter, MaxNLocator, NullLocator

from nnunetv2_mamba.report.sizes import SizeBin
from nnunetv2_mamba.report.style import INK, MUTED, colour, figure_of, marker

WIDTH, HEIGHT = 560, 340
"""In CSS pixels."""

FROC_TICKS = (0.0, *(2.0**exponent for exponent in range(-3, 13)))


@dataclass(frozen=True)
class Froc:
    """Lesion recall and false positives per case at rising thresholds, and at the threshold of the prediction.

    Attributes:
        fp_per_case: (thresholds,).
        recall: (thresholds,).
        point: both values of the prediction itself (2,).
    """

    fp_per_case: np.ndarray
    recall: np.ndarray
    point: np.ndarray


def recall_by_size(
    models: Mapping[int, Sequence[SizeBin]], sizes: np.ndarray, names: Sequence[str], unit: str
) -> Figure:
    """Lesion recall against size, with the distribution of the sizes below.

    Args:
        models: bins by index of the model.
        sizes: of all lesions (lesions,).
        names: of all models.
        unit: of the sizes.
    """
    figure = figure_of(WIDTH, HEIGHT + 30)
    axes, numbers = figure.subplots(2, sharex=True, height_ratios=(6, 1))
    for order, (model, bins) in enumerate(models.items()):
        # Side by side, so that the intervals of several models do not cover each other.
        shift = 1.05 ** (order - (len(models) - 1) / 2)
        middles = np.array([entry.middle for entry in bins]) * shift
        axes.plot(middles, [entry.recall.value for entry in bins], color=colour(model), marker=marker(model))
        for middle, entry in zip(middles, bins, strict=True):
            if entry.recall.has_interval:
                ends = entry.recall.low, entry.recall.high
                axes.plot([middle, middle], ends, color=colour(model), linewidth=2.5, alpha=0.35)
    axes.set(ylim=(-0.03, 1.03), ylabel="lesion recall")
    low, high = (float(sizes.min()), float(sizes.max())) if len(sizes) else (1.0, 10.0)
    numbers.hist(sizes, bins=np.geomspace(low / 1.05, high * 1.05, 30), color=MUTED, alpha=0.45)
    numbers.set(xscale="log", xlim=(low / 1.2, high * 1.2), xlabel=f"size of the lesion, {unit}", ylabel="lesions")
    numbers.xaxis.set_major_formatter(FuncFormatter(lambda size, _: f"{size:,.10g}"))
    numbers.xaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1.2, 0.4)))
    numbers.yaxis.set_major_locator(MaxNLocator(1, integer=True))
    _legend(figure, models, names)
    return figure


def values_per_case(models: Mapping[int, np.ndarray], names: Sequence[str], label: str) -> Figure:
    """A dot for each case and a box for their quartiles, one row for each model.

    Args:
        models: values (cases,) by index of the model; NaN is left out.
        names: of all models.
        label: of the values.
    """
    figure = figure_of(WIDTH, 80 + 60 * len(models))
    axes = figure.add_subplot()
    for row, (model, values) in enumerate(models.items()):
        values = np.sort(values[np.isfinite(values)])
        # Neighbours in size are spread over a third of the row.
        heights = row + 0.3 * (np.arange(len(values)) * 0.618 % 1 - 0.5)
        axes.scatter(values, heights, s=18, color=colour(model), marker=marker(model), alpha=0.7, linewidths=0)
        if len(values):
            low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
            axes.plot([low, high], [row + 0.3] * 2, color=INK, linewidth=1.2)
            axes.plot([middle] * 2, [row + 0.22, row + 0.38], color=INK, linewidth=2)
    axes.set(xlim=(-0.02, 1.02), ylim=(len(models) - 0.5, -0.5), xlabel=label)
    axes.set_yticks(range(len(models)), [short(names[model], 24) for model in models])
    return figure


def paired_values(first: int, second: int, values: np.ndarray, names: Sequence[str], label: str) -> Figure:
    """Values of two models against each other, one dot for each case, in the colour of the better model.

    Args:
        first: index of the model on the vertical axis.
        second: index of the model on the horizontal axis.
        values: of the first and of the second (2, cases).
        names: of all models.
        label: of the values.
    """
    figure = figure_of(WIDTH * 0.8, WIDTH * 0.8)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8)
    both = values[:, np.isfinite(values).all(axis=0)]
    for model, better in ((first, both[0] > both[1]), (second, both[0] <= both[1])):
        vertical, horizontal = both[:, better]
        axes.scatter(horizontal, vertical, s=24, color=colour(model), marker=marker(model), alpha=0.8, linewidths=0)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes.set(xlabel=f"{label}, {short(names[second])}", ylabel=f"{label}, {short(names[first])}")
    return figure


def froc(models: Mapping[int, Froc], names: Sequence[str]) -> Figure:
    """Lesion recall against false positives per case, with the prediction itself as a larger mark.

    Args:
        models: curves by index of the model.
        names: of all models.
    """
    figure = figure_of(WIDTH, HEIGHT)
    axes = figure.add_subplot()
    for model, curve in models.items():
        # In the order of the thresholds: merging components can lower the number of false positives.
        axes.plot(curve.fp_per_case, curve.recall, color=colour(model), marker=".")
        axes.plot(*curve.point, color=colour(model), marker=marker(model), markersize=9)
    most = np.nanmax([0.25, *(value for curve in models.values() for value in (*curve.fp_per_case, curve.point[0]))])
    axes.set(ylim=(-0.03, 1.03), xlabel="false positives per case", ylabel="lesion recall")
    # Each step doubles the false positives, as is usual; the part below the first step is linear and contains 0.
    axes.set_xscale("symlog", base=2, linthresh=FROC_TICKS[1], linscale=0.6)
    axes.set_xlim(-0.01, most * 1.1)
    ticks = [tick for tick in FROC_TICKS if tick <= most * 1.1]
    axes.set_xticks(ticks[:: 1 + len(ticks) // 9])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    _legend(figure, models, names)
    return figure


def short(name: str, limit: int = 36) -> str:
    """A name that fits along an axis: the middle of a long one is left out."""
    return name if len(name) <= limit else f"{name[: limit // 2]}…{name[-limit // 2 + 1 :]}"


def _legend(figure: Figure, models: Sequence[int] | Mapping[int, object] | range, names: Sequence[str]) -> None:
    handles: list[Artist] = [
        Line2D([], [], color=colour(model), marker=marker(model), label=short(names[model])) for model in models
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=2)
