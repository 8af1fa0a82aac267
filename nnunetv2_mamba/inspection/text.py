"""The inspection as text for a terminal."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nnunetv2_mamba.evaluation.components import NEIGHBOURS
from nnunetv2_mamba.inspection.findings import by, voxels_word

WIDTH = 110
_COLUMN = 20


def render(report: Mapping[str, Any]) -> str:
    """The report without its single cases, as text.

    Args:
        report: content of ``lesion_inspection.json``.
    """
    targets = list(report["targets"].items())
    title = max(len(line) for line, _ in _rows(report, targets[0][1]))
    columns = max(1, (WIDTH - title) // _COLUMN)
    tables = [_table(report, targets[at : at + columns], title) for at in range(0, len(targets), columns)]
    return "\n\n".join(["\n".join(_header(report)), *tables, "\n".join(_warnings(report))])


def shortened(name: str, width: int) -> str:
    """A name of at most `width` characters; a longer name loses its middle, because names differ at their ends."""
    half = (width - 2) // 2
    return name if len(name) <= width else f"{name[:half]}..{name[-half:]}"


def _header(report: Mapping[str, Any]) -> Iterator[str]:
    kind = "images" if report["dimensions"] == 2 else "volumes"
    yield f"{report['dataset']}: {report['cases']} {kind}, {report['lesion_free_cases']} without any lesion"
    yield f"labels      {report['label_folder']}"
    fraction = report["foreground_fraction"]
    yield (
        f"foreground  median {fraction['median']:.2%} of an image ({fraction['min']:.2%} to {fraction['max']:.2%})"
        + ("" if report["ignored_fraction"] is None else f"; {report['ignored_fraction']:.2%} not annotated (ignore)")
    )
    neighbours = NEIGHBOURS[report["dimensions"]][report["connectivity"]]
    yield f"lesion      connected voxels of a class; a voxel has {neighbours} neighbours ({report['connectivity']})"
    yield from _plan(report)
    for line in report["not_known"]:
        yield f"not known   {line}"


def _plan(report: Mapping[str, Any]) -> Iterator[str]:
    plan, network = report["plan"], report["network"]
    if plan is None:
        yield "plan        none yet, so sizes are those of the images: nnUNetv2_plan_and_preprocess, then inspect again"
        return
    sees = ", slice by slice" if plan["slicewise"] and report["dimensions"] == 3 else ""
    yield (
        f"plan        {plan['name']} {plan['configuration']}: spacing {by(plan['spacing'])} {report['unit']}, "
        f"patches of {by(plan['patch_size'])} {voxels_word(report)}{sees}"
    )
    if network is not None:
        first = (
            f"tokens of {by(network['token'])} {voxels_word(report)}"
            if max(network["token"]) > 1
            else "first layer at full resolution"
        )
        yield f"network     {network['name']} ({network['trainer']}): {first}, coarsest {by(network['total_stride'])}"


def _table(report: Mapping[str, Any], targets: Sequence[tuple[str, Mapping[str, Any]]], title: int) -> str:
    columns = [[value for _, value in _rows(report, target)] for _, target in targets]
    names = [line for line, _ in _rows(report, targets[0][1])]
    head = " " * title + "".join(f"{shortened(name, _COLUMN - 2):>{_COLUMN}}" for name, _ in targets)
    lines = [
        f"{name:<{title}}" + "".join(f"{column[row]:>{_COLUMN}}" for column in columns)
        for row, name in enumerate(names)
    ]
    return "\n".join(line.rstrip() for line in [head, *lines])


def _rows(report: Mapping[str, Any], target: Mapping[str, Any]) -> list[tuple[str, str]]:
    number, volume = target["lesions"], report["dimensions"] == 3
    rows = [
        ("cases with / without", f"{target['cases_with']} / {target['cases_without']}"),
        ("lesions", str(number)),
        ("lesions a case with them, median (most)", _pair(target["lesions_per_case_with"], "median", "max")),
        ("share of all annotated voxels", f"{target['foreground_fraction']:.3%}"),
        (f"size in {report['size_unit']}, median", _value(target["size"], "median")),
        ("  5 % to 95 %", _pair(target["size"], "q05", "q95", between=" to ")),
        ("  smallest to largest", _pair(target["size"], "min", "max", between=" to ")),
        (f"equivalent diameter in {report['unit']}, median", _value(target["diameter"], "median")),
        ("volume in the smaller half of the lesions", _percent(target["smaller_half_share"])),
        ("touch the border of the image", _share(target["touch_border"], number)),
        ("touch another class", _share(target["touch_another_class"], number)),
    ]
    if volume:
        rows.append(("lie in one slice only", _share(target["in_one_slice"], number)))
    few = f"fewer than {report['min_voxels']} {voxels_word(report)}"
    rows.append((f"{few} as annotated", _share(target["annotated_below_min_voxels"], number)))
    return rows + (_resampled_rows(report, target["resampled"], few) if target["resampled"] else [])


def _resampled_rows(report: Mapping[str, Any], resampled: Mapping[str, Any], few: str) -> list[tuple[str, str]]:
    measured = resampled["how"] == "measured"
    how = f"measured, {resampled['cases']} cases" if measured else "estimated"
    number, word = resampled["lesions"], voxels_word(report)
    where = f"{word} in the largest slice" if report["plan"]["slicewise"] and report["dimensions"] == 3 else word
    rows = [
        (f"after resampling ({how})", ""),
        (f"  {where}, median", _value(resampled["voxels"], "median")),
        (f"  {few}", _share(resampled["below_min_voxels"], number)),
        ("  vanished", _share(resampled["vanished"], number)),
    ]
    if report["network"] is not None and max(report["network"]["token"]) > 1:
        token = by(report["network"]["token"])
        rows.append((f"  smaller than one token ({token})", _share(resampled["below_token"], number)))
    return rows


def _warnings(report: Mapping[str, Any]) -> Iterator[str]:
    if not report["findings"]:
        yield "no warnings"
        return
    yield f"{len(report['findings'])} warning{'s' if len(report['findings']) > 1 else ''}"
    for index, finding in enumerate(report["findings"], 1):
        yield textwrap.fill(f"{index}. {finding['text']}", WIDTH, subsequent_indent="   ", break_on_hyphens=False)


def _share(number: int | None, total: int) -> str:
    if number is None:
        return "-"
    return f"{number} ({number / total:.1%})" if total else "0"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _value(quantiles: Mapping[str, float] | None, name: str) -> str:
    return "-" if quantiles is None else _number(quantiles[name])


def _pair(quantiles: Mapping[str, float] | None, first: str, second: str, *, between: str | None = None) -> str:
    if quantiles is None:
        return "-"
    values = [_number(quantiles[first]), _number(quantiles[second])]
    return between.join(values) if between else f"{values[0]} ({values[1]})"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"
