"""The outcome of a model in a few numbers."""

from functools import partial

import numpy as np

from nnunetv2_mamba.evaluation.metric import COUNTS
from nnunetv2_mamba.evaluation.metrics import pooled
from nnunetv2_mamba.evaluation.protocol import Protocol
from nnunetv2_mamba.report.cards import card_of
from nnunetv2_mamba.report.reported_model import Cases, Lesions
from nnunetv2_mamba.report.scores import ModelResult, ModelScores
from nnunetv2_mamba.report.statistics import Resampling

CASES, LESIONS = 22, 10


def card(true_positives, components, dice=0.8, trained_on_cases=False):
    """Card of a model with so many true positive lesions and components in each case of ten lesions."""
    names = tuple(f"case_{number:02d}" for number in range(CASES))
    counts = dict.fromkeys(COUNTS, 0.0) | {
        "cases": 1,
        "lesions": LESIONS,
        "true_positive_lesions": true_positives,
        "components": components + 1,
        "true_positive_components": components,
        "lesion_dice": true_positives * dice,
    }
    cases = Cases(
        names, {name: np.full(CASES, float(value)) for name, value in counts.items()}, {"DSC": np.full(CASES, dice)}
    )
    resampling = Resampling(names, draws=20)
    result = ModelResult(
        place=0,
        name="a",
        entry={"strata": [_group("small", 3, 10), _group("none", 0, 0), _group("large", 9, 9)]},
        scores=ModelScores(cases, resampling, partial(pooled, protocol=Protocol())),
        resampling=resampling,
        lesions=Lesions(*[np.array([])] * 4),
    )
    return card_of(result, Protocol().as_dict(), trained_on_cases)


def _group(name, true_positives, lesions):
    return {"name": name, "counts": {"true_positive_lesions": true_positives, "lesions": lesions}}


def test_numbers_of_a_card():
    shown = card(5, 5)
    assert (shown.true_positives, shown.lesions, shown.percent) == (110, 220, "50 %")
    assert shown.figures == [
        ("1.00", "false positives per case"), ("0.40", "Dice per lesion"), ("0.80", "mean Dice"),
    ]  # fmt: skip
    assert shown.by_size == "By size: small 3 of 10, large 9 of 9."
    assert shown.warnings == []


def test_one_component_over_everything_has_a_warning_and_a_low_dice():
    shown = card(10, 1, dice=0.01)
    assert shown.warnings == [
        "22 components match 220 lesions: one component covers several. "
        "Matched one to one, recall would be at most 10 %."
    ]
    assert ("0.01", "Dice per lesion") in shown.figures


def test_a_model_that_was_trained_on_its_cases_has_a_warning():
    assert card(5, 5, trained_on_cases=True).warnings == ["The model was trained on these cases."]
