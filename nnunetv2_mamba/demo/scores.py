"""Dice as nnU-Net measured it, read from the ``summary.json`` that its evaluation writes."""

import json
import math
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Scores:
    """Dice of one label.

    Attributes:
        label: name of the label in dataset.json.
        per_case: Dice by case name, nan where the label is neither drawn nor predicted.
        mean: nnU-Net's number, the mean over the cases that are not nan.
        pooled: Dice of all pixels of all cases together, which tiny lesions cannot dominate.
    """

    label: str
    per_case: dict[str, float]
    mean: float
    pooled: float


def read_scores(summary_file: Path, dataset_file: Path) -> list[Scores]:
    """Dice of every foreground label, in the order of dataset.json.

    Args:
        summary_file: nnU-Net's ``summary.json``.
        dataset_file: nnU-Net's ``dataset.json``, for the names of the labels.
    """
    summary, labels = json.loads(summary_file.read_text()), json.loads(dataset_file.read_text())["labels"]
    scores = []
    for name, value in labels.items():
        if value == 0:
            continue
        cases = {Path(case["prediction_file"]).stem: case["metrics"][str(value)] for case in summary["metric_per_case"]}
        hits = 2 * sum(case["TP"] for case in cases.values())
        errors = sum(case["FP"] + case["FN"] for case in cases.values())
        scores.append(
            Scores(
                label=name.replace("_", " "),
                per_case={case: float(metrics["Dice"]) for case, metrics in cases.items()},
                mean=float(summary["mean"][str(value)]["Dice"]),
                pooled=hits / (hits + errors) if hits + errors else math.nan,
            )
        )
    return scores


def format_dice(value: float) -> str:
    """Two decimals, or a hyphen where there is nothing to measure."""
    return "-" if math.isnan(value) else f"{value:.2f}"
