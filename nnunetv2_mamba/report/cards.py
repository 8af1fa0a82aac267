"""The outcome of a model in a few numbers."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nnunetv2_mamba.evaluation.metrics import shown_in
from nnunetv2_mamba.report import wording
from nnunetv2_mamba.report.scores import ModelResult


@dataclass(frozen=True, kw_only=True)
class Card:
    """The outcome of a model on one target.

    Attributes:
        model: index of the model.
        name: name of the model.
        true_positives: number of true positive lesions.
        lesions: number of lesions.
        recall: from 0 to 1; NaN without lesions.
        percent: the recall as text.
        figures: further metrics, each as value and label.
        by_size: true positive lesions of each size, as a sentence.
        warnings: sentences on what limits the numbers.
    """

    model: int
    name: str
    true_positives: int
    lesions: int
    recall: float
    percent: str
    figures: list[tuple[str, str]]
    by_size: str
    warnings: list[str]


def card_of(result: ModelResult, protocol: Mapping[str, Any], trained_on_cases: bool = False) -> Card:
    """The outcome of one model.

    Args:
        result: of the model.
        protocol: of the summary.
        trained_on_cases: whether the model was trained on these cases.
    """
    true_positives, lesions = int(result.total("true_positive_lesions")), int(result.total("lesions"))
    recall = true_positives / lesions if lesions else math.nan
    warnings = ["The model was trained on these cases."] if trained_on_cases else []
    components = int(result.total("true_positive_components"))
    if components < true_positives / 2:
        matched = f"{wording.count(components, 'component')} {'matches' if components == 1 else 'match'}"
        warnings.append(
            f"{matched} {true_positives:,} lesions: one component covers several. Matched one to one, recall would be "
            f"at most {wording.percent(components / lesions)}."
        )
    return Card(
        model=result.place,
        name=result.name,
        true_positives=true_positives,
        lesions=lesions,
        recall=recall,
        percent=wording.percent(recall),
        figures=[
            (
                wording.number(result.scores.estimate(metric.name, metric.over).value, 2),
                f"mean {metric.label}" if metric.over == "mean" else metric.label,
            )
            for metric in shown_in("card")
        ],
        by_size=_by_size(result) if protocol["strata"]["level"] == "lesion" else "",
        warnings=warnings,
    )


def _by_size(result: ModelResult) -> str:
    counts = {group["name"]: group["counts"] for group in result.entry["strata"] if group["counts"]["lesions"]}
    words = [f"{name} {each['true_positive_lesions']:,} of {each['lesions']:,}" for name, each in counts.items()]
    return f"By size: {', '.join(words)}." if len(words) > 1 else ""
