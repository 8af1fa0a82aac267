"""Scores of the demo, from nnU-Net's evaluation and from ``nnUNetv2_mamba evaluate``."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DemoScores:
    """Scores of one label.

    Attributes:
        label: name of the label in dataset.json.
        per_case: Dice by case name, nan where the label is neither drawn nor predicted.
        mean: from nnU-Net's evaluation, the mean over the cases that are not nan.
        pooled: Dice of all pixels of all cases together, which tiny lesions cannot dominate.
        lesions: number of lesions in the reference.
        true_positives: how many of them were detected.
        false_positives: components per case that match no lesion.
    """

    label: str
    per_case: dict[str, float]
    mean: float
    pooled: float
    lesions: int
    true_positives: int
    false_positives: float


def read_scores(predictions: Path) -> list[DemoScores]:
    """Scores of every foreground label, in the order of dataset.json.

    Args:
        predictions: folder with nnU-Net's ``summary.json`` and our ``lesion_summary.json``.
    """
    means = json.loads((predictions / "summary.json").read_text(encoding="utf-8"))["mean"]
    report = json.loads((predictions / "lesion_summary.json").read_text(encoding="utf-8"))
    scores = []
    for name, target in report["targets"].items():
        cases = {case["case"]: case["targets"][name] for case in report["cases"]}
        lesions, true_positives = (
            sum(case["counts"][key] for case in cases.values()) for key in ("lesions", "true_positive_lesions")
        )
        scores.append(
            DemoScores(
                label=name.replace("_", " "),
                per_case={case: _number(values["metrics"]["DSC"]) for case, values in cases.items()},
                mean=float(means[str(target["labels"][0])]["Dice"]),
                pooled=_number(target["pooled"]["DSC"]),
                lesions=lesions,
                true_positives=true_positives,
                false_positives=_number(target["pooled"]["fp_per_case"]),
            )
        )
    return scores


def table_of(scores: list[DemoScores]) -> Iterator[str]:
    """The scores as lines of a table."""
    headings = (
        ("Dice, mean of tiles", 20),
        ("of all pixels", 15),
        ("lesions detected", 18),
        ("false positives/tile", 22),
    )
    yield f"{'':<16}" + "".join(f"{heading:>{width}}" for heading, width in headings)
    for score in scores:
        mean, pooled, false_positives = map(format_score, (score.mean, score.pooled, score.false_positives))
        cells = (mean, pooled, f"{score.true_positives} of {score.lesions}", false_positives)
        yield f"{score.label:<16}" + "".join(
            f"{cell:>{width}}" for cell, (_, width) in zip(cells, headings, strict=True)
        )


def format_score(value: float) -> str:
    """Two decimals, or a hyphen where there is nothing to measure."""
    return "-" if math.isnan(value) else f"{value:.2f}"


def _number(value: float | None) -> float:
    return math.nan if value is None else value
