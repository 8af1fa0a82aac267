"""The summary of an evaluation in a few lines, for a terminal or a log."""

from collections.abc import Iterator, Mapping
from typing import Any


def lines_of(summary: Mapping[str, Any]) -> Iterator[str]:
    """What was found, missed and invented, target by target, and what a reader has to be warned of.

    Args:
        summary: content of ``lesion_summary.json``.
    """
    cases = counted(len(summary["cases"]), "case")
    if folds := summary.get("folds"):
        yield f"{cases} of {'fold' if len(folds) == 1 else 'folds'} {', '.join(map(str, folds))}"
    for name, target in summary["targets"].items():
        pooled, mean, free, counts = target["pooled"], target["mean"], target["lesion_free"], target["counts"]
        recall, precision, f1 = (_number(pooled[f"lesion_{metric}"]) for metric in ("recall", "precision", "f1"))
        invented = counts["components"] - counts["right"]
        yield (
            f"{name}: {counts['found']} of {counted(counts['lesions'], 'lesion')} found (recall {recall}), "
            f"{invented} invented in {cases} (precision {precision}: {counts['right']} of "
            f"{counted(counts['components'], 'component')} right), F1 {f1}"
        )
        yield (
            f"  Dice {_number(mean['DSC'])} mean of {counted(target['defined']['DSC'], 'case')}, "
            f"{_number(pooled['DSC'])} over all voxels, {_number(pooled['lesion_dice'])} per lesion"
        )
        yield (
            f"  HD95 {_number(mean['HD95'], 1)} {summary['unit']}, surface Dice {_number(mean['NSD'])} at "
            f"{summary['protocol']['surface_tolerance']:g} {summary['unit']}, means of "
            f"{counted(target['defined']['HD95'], 'case')} and {target['defined']['NSD']}"
        )
        yield from _strata(target, summary["protocol"]["strata"]["level"])
        if free["cases"]:
            yield f"  {counted(free['cases'], 'case')} without a lesion, {free['with_inventions']} with an invented one"
    yield f"protocol {summary['protocol']['name']} ({summary['protocol_hash']})"
    yield from (f"warning: {warning}" for warning in summary["warnings"])


def _strata(target: Mapping[str, Any], level: str) -> Iterator[str]:
    groups = [group for group in target["strata"] if group["counts"]["lesions"]]
    if groups:
        of = "size" if level == "lesion" else "size of all lesions in an image"
        yield f"  recall by {of}: " + ", ".join(
            f"{group['name']} {_number(group['metrics']['lesion_recall'])} of {group['counts']['lesions']}"
            for group in groups
        )


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
        if empty := sum(None in values for values in table):
            yield f"  under {counted(empty, 'protocol')} something is left that cannot be counted (-)"


def counted(number: int, noun: str) -> str:
    """Number and noun, in the plural where it is one."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
