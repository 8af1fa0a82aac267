"""The picture of the inspection: how large the lesions of each target are, and which of them are hard to see."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogFormatter, MaxNLocator

from nnunetv2_mamba.inspection.findings import by, voxels_word
from nnunetv2_mamba.inspection.text import shortened

# Okabe and Ito's colours, which colour-blind readers can tell apart.
_TINY, _BELOW_TOKEN, _REST = "#d55e00", "#e69f00", "#0072b2"
_BINS_PER_DECADE = 12
_PANELS_PER_COLUMN = 5
_MOST_COLUMNS = 3


def plot(report: Mapping[str, Any], path: Path) -> None:
    """Draw a histogram of each target that has lesions into a PNG file.

    Args:
        report: content of ``lesion_inspection.json``.
        path: of the file.
    """
    # Another style of the user would change the layout.
    with style.context("default"):
        _figure(report).savefig(path, format="png", dpi=110)


def sizes_seen(report: Mapping[str, Any], target: str) -> tuple[np.ndarray, np.ndarray]:
    """Voxels of each lesion that a network sees at once: after resampling, where there is a plan, and as annotated.

    Args:
        report: content of ``lesion_inspection.json``.
        target: name of the class or region.

    Returns:
        Two arrays (n,) of the same lesions; the first has zeros for those that vanish.
    """
    which = "largest_slice" if report["plan"] and report["plan"]["slicewise"] else "voxels"
    measured = any(case["targets"][target]["resampled"] is not None for case in report["per_case"])
    after, before = [], []
    for case in report["per_case"]:
        lesions = case["targets"][target]
        if measured and lesions["resampled"] is None:
            continue
        annotated = np.array(lesions[which], dtype=float)
        before.append(annotated)
        estimate = annotated * (case["voxels_of_plan_per_voxel"] or 1)
        after.append(np.array(lesions["resampled"], dtype=float) if measured else estimate)
    return np.concatenate(after), np.concatenate(before)


def _figure(report: Mapping[str, Any]) -> Figure:
    sizes = {name: sizes_seen(report, name) for name, target in report["targets"].items() if target["lesions"]}
    columns = min(max(1, math.ceil(len(sizes) / _PANELS_PER_COLUMN)), _MOST_COLUMNS)
    rows = max(1, math.ceil(len(sizes) / columns))
    figure = Figure(figsize=(9.5 * columns, 1.6 + 2.2 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, squeeze=False)
    edges = _edges(report, max((max(after.max(), before.max()) for after, before in sizes.values()), default=1))
    for axes in panels.flat[len(sizes) :]:
        axes.set_visible(False)
    for axes, (name, (after, before)) in zip(panels.flat, sizes.items(), strict=False):
        _panel(axes, report, name=name, after=after, before=before, edges=edges)
    for column in range(columns):
        shown = [axes for axes in panels[:, column] if axes.get_visible()]
        if shown:
            _diameters(shown[0], report)
            shown[-1].set_xlabel(_what(report))
            shown[-1].xaxis.set_tick_params(labelbottom=True)
    title = "how large the lesions are" if sizes else "no lesions"
    figure.suptitle(f"{report['dataset']}: {title}", fontsize="large")
    figure.legend(handles=_legend(report, sizes), loc="outside lower center", ncols=3, frameon=False, fontsize="small")
    return figure


def _panel(
    axes: Axes, report: Mapping[str, Any], *, name: str, after: np.ndarray, before: np.ndarray, edges: np.ndarray
) -> None:
    tiny, token = after < report["min_voxels"], after < _token(report)
    groups = [after[tiny & (after > 0)], after[~tiny & token], after[~tiny & ~token]]
    # An estimate can be less than the half voxel at which the axis starts.
    groups = [np.maximum(group, edges[0]) for group in groups]
    axes.hist(groups, edges, stacked=True, color=[_TINY, _BELOW_TOKEN, _REST])
    if not np.array_equal(after, before):
        axes.hist(before, edges, histtype="step", color="black", linewidth=1)
    axes.axvline(_border(report, report["min_voxels"]), color=_TINY, linestyle="--")
    if _token(report) > 1:
        axes.axvline(_border(report, _token(report)), color="black", linestyle=":")
    axes.set(xscale="log", xlim=(edges[0], edges[-1]), ylabel="lesions")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_formatter(LogFormatter())
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    target = report["targets"][name]
    cases = f"{target['cases_with']} of {report['cases']} cases"
    title = f"{shortened(name, 30)}: {target['lesions']} lesions in {cases}"
    axes.set_title(title, loc="left", fontsize="medium", weight="bold")
    axes.set_title(_counts(report, after), loc="right", fontsize="small")


def _counts(report: Mapping[str, Any], after: np.ndarray) -> str:
    def share(condition: np.ndarray) -> str:
        return f"{condition.sum()} ({condition.mean():.0%})"

    counts = [f"{share(after < report['min_voxels'])} below {report['min_voxels']} {voxels_word(report)}"]
    if _token(report) > 1:
        counts.append(f"{share(after < _token(report))} below a token")
    if (after == 0).any():
        counts.append(f"{share(after == 0)} vanish")
    return ", ".join(counts)


def _legend(report: Mapping[str, Any], sizes: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> list[Patch | Line2D]:
    word = voxels_word(report)
    handles: list[Patch | Line2D] = [
        Line2D([], [], color=_TINY, linestyle="--", label=f"{report['min_voxels']} {word} (--min-voxels)"),
        Patch(color=_TINY, label=f"fewer than {report['min_voxels']} {word}"),
    ]
    if _token(report) > 1:
        network = report["network"]
        token = f"one token of {network['name']}, {by(network['token'])} {word}"
        handles.append(Line2D([], [], color="black", linestyle=":", label=token))
        handles.append(Patch(color=_BELOW_TOKEN, label="smaller than a token"))
    handles.append(Patch(color=_REST, label="larger"))
    if any(not np.array_equal(after, before) for after, before in sizes.values()):
        handles.append(Line2D([], [], color="black", label=f"the same lesions, {word} as annotated"))
    return handles


def _diameters(axes: Axes, report: Mapping[str, Any]) -> None:
    """A second axis on top with the diameter of discs or balls, if all voxels have the same size."""
    plan = report["plan"]
    spacings = {tuple(case["spacing"]) for case in report["per_case"]} if plan is None else {tuple(plan["spacing"])}
    if len(spacings) > 1:
        return
    spacing = spacings.pop()
    voxel, power = float(np.prod(spacing)), 1 / len(spacing)
    # Area of a disc, volume of a ball of diameter 1.
    unit = math.pi / 4 if len(spacing) == 2 else math.pi / 6

    top = axes.secondary_xaxis(
        "top",
        functions=(
            lambda voxels: (np.maximum(voxels, 1e-9) * voxel / unit) ** power,
            lambda diameter: unit * np.maximum(diameter, 1e-9) ** len(spacing) / voxel,
        ),
    )
    where = "" if plan is None else " after resampling"
    top.set_xlabel(f"equivalent diameter in {report['unit']}{where}", fontsize="small")
    top.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    top.xaxis.set_minor_formatter(LogFormatter())
    top.tick_params(labelsize="small")


def _edges(report: Mapping[str, Any], largest: float) -> np.ndarray:
    """Borders between bins that are about equally wide on a logarithmic axis, some of them at the vertical lines."""
    bounds = {report["min_voxels"], _token(report)}
    steps = math.ceil(math.log10(max(largest, *bounds) + 1) * _BINS_PER_DECADE) + 1
    # The edges lie between whole numbers, so that each bin contains a possible size.
    edges = np.unique(np.round(np.logspace(0, steps / _BINS_PER_DECADE, steps + 1))) - 0.5
    for bound in bounds:
        border = _border(report, bound)
        edges[np.argmin(np.abs(np.log(edges / border)))] = border
    return edges


def _border(report: Mapping[str, Any], bound: int) -> float:
    """End of the sizes below a bound: between whole numbers, unless the sizes are estimates."""
    resampled = next(iter(report["targets"].values()))["resampled"]
    return float(bound) if resampled is not None and resampled["how"] == "estimated" else bound - 0.5


def _token(report: Mapping[str, Any]) -> int:
    return 1 if report["network"] is None else math.prod(report["network"]["token"])


def _what(report: Mapping[str, Any]) -> str:
    plan, word = report["plan"], voxels_word(report)
    if plan is None:
        return f"{word} of a lesion as annotated"
    where = "in the largest slice of a lesion" if plan["slicewise"] and report["dimensions"] == 3 else "of a lesion"
    how = next(iter(report["targets"].values()))["resampled"]["how"]
    return f"{word} {where} as {plan['configuration']} has them, {by(plan['spacing'])} {report['unit']} ({how})"
