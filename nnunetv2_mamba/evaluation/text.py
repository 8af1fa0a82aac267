"""The summary of an evaluation in a few lines, for a terminal or a log."""

from collections.abc import Iterator, Mapping
from typing import Any

from nnunetv2_mamba.evaluation.metrics import shown_in


def lines_of(summary: Mapping[str, Any]) -> Iterator[str]:
    """True positive and missed lesions and false positives of each target, and the warnings.

    Args:
        summary: content of ``lesion_summary.json``.
    """
    cases = counted(len(summary["cases"]), "case")
    if folds := summary.get("folds"):
        yield f"{cases} of {'fold' if len(folds) == 1 else 'folds'} {', '.join(map(str, folds))}"
    for name, target in summary["targets"].items():
        pooled, mean, free, counts = target["pooled"], target["mean"], target["lesion_free"], target["counts"]
        recall, precision, f1 = (_number(pooled[f"lesion_{metric}"]) for metric in ("recall", "precision", "f1"))
        false_positives = counts["components"] - counts["true_positive_components"]
        of = f"{counts['true_positive_components']} of {counted(counts['components'], 'component')}"
        if summary["protocol"]["precision_counts"] == "lesions":
            lesions = counts["true_positive_lesions"]
            of = f"{lesions} of {lesions + false_positives:,} lesions and false positives"
        yield (
            f"{name}: recall {recall} ({counts['true_positive_lesions']} of {counted(counts['lesions'], 'lesion')}), "
            f"precision {precision} ({of}), F1 {f1}, {counted(false_positives, 'false positive')} in {cases}"
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
            yield (
                f"  {counted(free['cases'], 'case')} without a lesion, {free['with_false_positives']} of them with a "
                "false positive"
            )
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
    """How far the metrics move with the protocol, target by target."""
    metrics = shown_in("sensitivity")
    for name in summary["targets"]:
        yield f"{name:<32}" + "".join(f"{metric.label.removeprefix('lesion '):>11}" for metric in metrics)
        table = []
        for entry in summary["sensitivity"]:
            table.append([entry["targets"][name]["pooled"][metric.name] for metric in metrics])
            yield f"  {entry['protocol']['name']:<30}" + "".join(f"{_number(value):>11}" for value in table[-1])
        columns = [[value for value in column if value is not None] for column in zip(*table, strict=True)]
        ranges = (_number(max(column) - min(column)) if column else "-" for column in columns)
        yield f"  {'largest difference':<30}" + "".join(f"{value:>11}" for value in ranges)
        if empty := sum(None in values for values in table):
            yield f"  a metric is not defined (-) under {counted(empty, 'protocol')}"


def counted(number: int, noun: str) -> str:
    """Number and noun, the noun in the plural unless the number is 1."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
