"""The summary of an evaluation in a few lines, for a terminal or a log."""

from collections.abc import Iterator, Mapping
from typing import Any


def lines_of(summary: Mapping[str, Any]) -> Iterator[str]:
    """What was found, missed and invented, target by target.

    Args:
        summary: content of ``lesion_summary.json``.
    """
    number = len(summary["cases"])
    for name, target in summary["targets"].items():
        pooled, mean, free = target["pooled"], target["mean"], target["lesion_free"]
        counts = target["counts"]
        yield (
            f"{name}: {counts['found']} of {counts['lesions']} lesions found "
            f"(recall {_number(pooled['lesion_recall'])}), {counts['components'] - counts['right']} invented "
            f"in {number} cases (precision {_number(pooled['lesion_precision'])}, F1 {_number(pooled['lesion_f1'])})"
        )
        yield (
            f"  Dice {_number(mean['DSC'])} mean over cases, {_number(pooled['DSC'])} over all voxels; "
            f"HD95 {_number(mean['HD95'], 1)} {summary['metrics']['HD95']['unit']}; "
            f"surface Dice {_number(mean['NSD'])} at {summary['protocol']['surface_tolerance']:g} {summary['unit']}"
        )
        if target["strata"] and any(stratum["counts"]["lesions"] for stratum in target["strata"]):
            yield "  recall by size: " + ", ".join(
                f"{stratum['name']} {_number(stratum['metrics']['lesion_recall'])} of {stratum['counts']['lesions']}"
                for stratum in target["strata"]
            )
        if free["cases"]:
            yield f"  {free['cases']} cases without a lesion, {free['with_inventions']} of them with an invented one"
    yield f"protocol {summary['protocol']['name']} ({summary['protocol_hash']})"


def sensitivity_lines(summary: Mapping[str, Any]) -> Iterator[str]:
    """How far recall, precision and F1 move with the protocol, target by target."""
    metrics = ("lesion_recall", "lesion_precision", "lesion_f1")
    for name in summary["targets"]:
        yield f"{name:<32}{'recall':>10}{'precision':>11}{'F1':>8}"
        table = []
        for entry in summary["sensitivity"]:
            values = [entry["targets"][name]["pooled"][metric] for metric in metrics]
            table.append(values)
            recall, precision, f1 = map(_number, values)
            yield f"  {entry['protocol']['name']:<30}{recall:>10}{precision:>11}{f1:>8}"
        columns = [[value for value in column if value is not None] for column in zip(*table, strict=True)]
        recall, precision, f1 = (_number(max(column) - min(column)) if column else "-" for column in columns)
        yield f"  {'largest difference':<30}{recall:>10}{precision:>11}{f1:>8}"


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
