"""The plots of a report."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from nnunetv2_mamba.report.sizes import SizeBin
from nnunetv2_mamba.report.svg import INK, MUTED, PAPER, colour, figure_of, marker

# As wide as half of a page, and still to be read on a phone.
WIDTH, HEIGHT = 480, 320
LETTER = 6.8
"""About as wide as a digit, in CSS pixels."""

FROC_TICKS = (0.0, *(2.0**exponent for exponent in range(-3, 13)))


# Of ticks, from many to few a decade. Between the ends of the smallest range of sizes there is one of the first.
_DIGITS = ((1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8), (1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,))
_HOLLOW = {"markerfacecolor": PAPER, "markeredgewidth": 1.2}


@dataclass(frozen=True)
class Froc:
    """Recall and inventions at falling thresholds, and at the threshold that made the prediction.

    Attributes:
        fp_per_case: (thresholds,).
        recall: (thresholds,).
        point: both of the prediction itself (2,).
        merged: thresholds at which components have merged until one covers several lesions (thresholds,), bool.
        point_merged: the same of the prediction itself.
    """

    fp_per_case: np.ndarray
    recall: np.ndarray
    point: np.ndarray
    merged: np.ndarray
    point_merged: bool


def recall_by_size(models: Mapping[int, Sequence[SizeBin]], sizes: np.ndarray, unit: str) -> Figure:
    """Recall against size, with the distribution of the sizes below.

    Args:
        models: bins by place of the model.
        sizes: of all lesions (lesions,).
        unit: of the sizes.
    """
    figure = figure_of(WIDTH, HEIGHT + 20)
    axes, numbers = figure.subplots(2, sharex=True, height_ratios=(6, 1))
    for order, (model, bins) in enumerate(models.items()):
        # Side by side, so that intervals of several models do not hide each other.
        shift = 1.05 ** (order - (len(models) - 1) / 2)
        middles = np.array([entry.middle for entry in bins]) * shift
        recall = np.array([entry.recall.value for entry in bins])
        axes.plot(middles, recall, color=colour(model), marker=marker(model), markersize=5, markeredgecolor=PAPER)
        for middle, entry in zip(middles, bins, strict=True):
            if entry.recall.has_interval:
                ends = entry.recall.low, entry.recall.high
                axes.plot([middle, middle], ends, color=colour(model), linewidth=2.5, alpha=0.35, zorder=1.5)
    axes.set(ylim=(-0.03, 1.03), ylabel="share of lesions found")
    low, high = (float(sizes.min()), float(sizes.max())) if len(sizes) else (1.0, 10.0)
    numbers.hist(sizes, bins=np.geomspace(low / 1.05, high * 1.05, 30), color=MUTED, alpha=0.45)
    numbers.set(ylabel="lesions")
    numbers.yaxis.set_major_locator(MaxNLocator(1, integer=True))
    _size_axis(numbers, low, high, unit)
    figure.align_ylabels()
    return figure


def _size_axis(axes: Axes, low: float, high: float, unit: str) -> None:
    axes.set_xscale("log")
    axes.set_xlabel(f"size of the lesion, {unit}")
    axes.set_xlim(low / 1.2, high * 1.2)
    axes.set_xticks(size_ticks(low / 1.2, high * 1.2), minor=False)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: _size(size)))
    axes.xaxis.set_minor_locator(NullLocator())


def size_ticks(low: float, high: float, width: float = WIDTH - 60) -> list[float]:
    """As many round sizes on a logarithmic axis as can be written below it without touching.

    Args:
        low: left end of the axis.
        high: right end.
        width: of the axis in CSS pixels.
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in _DIGITS:
        every = [digit * 10.0**decade for decade in decades for digit in digits]
        ticks = [tick for tick in every if low <= tick <= high]
        places = [math.log(tick / low) / math.log(high / low) * width for tick in ticks]
        room = [(len(_size(one)) + len(_size(two))) / 2 * LETTER + 10 for one, two in pairwise(ticks)]
        if all(there - here >= wanted for (here, there), wanted in zip(pairwise(places), room, strict=True)):
            return ticks
    return ticks[::-1][:: 1 + len(ticks) // 6][::-1]


def _size(size: float) -> str:
    return f"{size:,.10g}"


def values_per_case(models: Mapping[int, np.ndarray], links: Mapping[int, Sequence[str]], label: str) -> Figure:
    """A dot for each case, one row a model, with the quartiles.

    Args:
        models: values (cases,) by place of the model; NaN is left out.
        links: of the cases (cases,), by place of the model.
        label: of the values.
    """
    figure = figure_of(WIDTH, 74 + 56 * len(models), left=12)
    axes = figure.add_subplot()
    for row, (model, values) in enumerate(models.items()):
        defined = np.flatnonzero(np.isfinite(values))
        values, urls = values[defined], [links[model][index] for index in defined.tolist()]
        axes.scatter(
            values, row + _spread(values), s=20, color=colour(model), marker=marker(model), alpha=0.75,
            edgecolors=PAPER, linewidths=0.5, urls=urls, zorder=2,
        )  # fmt: skip
        if len(values):
            low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
            axes.plot([low, high], [row + 0.4] * 2, color=INK, linewidth=1.2, solid_capstyle="butt")
            axes.plot([middle] * 2, [row + 0.31, row + 0.49], color=INK, linewidth=2)
    axes.set(xlim=(-0.02, 1.02), ylim=(len(models) - 0.4, -0.5), xlabel=label, yticks=[])
    axes.spines.left.set_visible(False)
    return figure


def _spread(values: np.ndarray) -> np.ndarray:
    """Offsets (n,) so that dots of about equal values stand side by side: within a third of a row, by rank."""
    bins = np.round(values * 40)
    offsets = np.zeros(len(values))
    for value in np.unique(bins):
        inside = np.flatnonzero(bins == value)
        steps = (np.arange(len(inside)) + 1) // 2 * np.where(np.arange(len(inside)) % 2, 1, -1)
        offsets[inside] = np.clip(steps * 0.09, -0.28, 0.28)
    return offsets


def paired_values(
    first: int, second: int, values: np.ndarray, links: Sequence[str], names: tuple[str, str], label: str
) -> Figure:
    """Values of two models against each other, a dot for each case; the better side is written there.

    Args:
        first: place of the model on the vertical axis.
        second: place of the one on the horizontal axis.
        values: of the first and of the second (2, cases).
        links: of the cases (cases,).
        names: of the two models.
        label: of the values.
    """
    figure = figure_of(WIDTH, WIDTH * 0.86)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8)
    both = np.flatnonzero(np.isfinite(values).all(axis=0))
    up = values[0] > values[1]
    for model, side in ((first, up), (second, ~up)):
        chosen = both[side[both]]
        axes.scatter(
            values[1, chosen], values[0, chosen], s=24, color=colour(model), marker=marker(model), alpha=0.8,
            edgecolors=PAPER, linewidths=0.5, urls=[links[index] for index in chosen], zorder=2,
        )  # fmt: skip
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes.set_xlabel(f"{label}, {_short(names[1])}")
    axes.set_ylabel(f"{label}, {_short(names[0])}")
    return figure


def by_protocol(rows: Sequence[tuple[str, Sequence[float]]], label: str) -> Figure:
    """One value of each model under several protocols.

    Args:
        rows: names of the protocols, and the values of the models.
        label: of the values.
    """
    longest = max((len(_short(name)) for name, _ in rows), default=0)
    figure = figure_of(WIDTH, 60 + 24 * len(rows), left=14 + LETTER * longest)
    axes = figure.add_subplot()
    heights, models = np.arange(len(rows)), len(rows[0][1]) if rows else 0
    for model, values in enumerate(np.array([values for _, values in rows], dtype=float).T):
        # One above the other, so that equal values of several models do not hide each other.
        shift = 0.5 * (model - (models - 1) / 2) / models
        axes.plot(
            values, heights + shift, color=colour(model), marker=marker(model), markersize=6, markeredgecolor=PAPER,
            linewidth=0, alpha=0.9,
        )  # fmt: skip
    axes.set_yticks(heights, [_short(name) for name, _ in rows])
    axes.set(ylim=(len(rows) - 0.5, -0.5), xlabel=label)
    return figure


def _short(name: str, limit: int = 36) -> str:
    """A name that fits along an axis: the middle of a long one is left out."""
    return name if len(name) <= limit else f"{name[: limit // 2]}…{name[-limit // 2 + 1 :]}"


def froc(models: Mapping[int, Froc]) -> Figure:
    """Recall against invented components per case, as the threshold falls.

    Args:
        models: curves by place of the model.
    """
    figure = figure_of(WIDTH, HEIGHT)
    axes = figure.add_subplot()
    most = 0.25
    for model, curve in models.items():
        look = {"color": colour(model), "linewidth": 0, "zorder": 2.5}
        # In the order of the thresholds: where components merge, fewer are invented although more is predicted.
        axes.plot(curve.fp_per_case, curve.recall, color=colour(model))
        for hollow in (False, True):
            chosen = curve.merged == hollow
            dot = look | (_HOLLOW if hollow else {})
            axes.plot(curve.fp_per_case[chosen], curve.recall[chosen], marker="o", markersize=3.5, **dot)
        edge = _HOLLOW if curve.point_merged else {"markeredgecolor": PAPER}
        axes.plot(*curve.point, marker=marker(model), markersize=8, **look | edge)
        most = max(most, np.nanmax([*curve.fp_per_case, curve.point[0], most]))
    axes.set(ylim=(-0.03, 1.03), xlabel="invented lesions per case", ylabel="share of lesions found")
    # Each step doubles the inventions, as the curve is commonly drawn; below the first there is room for none at all.
    axes.set_xscale("symlog", base=2, linthresh=FROC_TICKS[1], linscale=0.6)
    axes.set_xlim(-0.01, most * 1.1)
    ticks = [tick for tick in FROC_TICKS if tick <= most * 1.1]
    axes.set_xticks(ticks[:: 1 + len(ticks) // 9], minor=False)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    return figure
