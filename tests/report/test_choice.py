"""Which cases are shown."""

import math

import numpy as np

from nnunetv2_mamba.report.choice import choose
from nnunetv2_mamba.report.reported_model import Cases


def cases(dice, false_positives=None, lesions=None, names=None):
    number = len(dice)
    counts = {
        "lesions": np.array(lesions or [1] * number, dtype=float),
        "components": np.array(false_positives or [0] * number, dtype=float),
        "true_positive_components": np.zeros(number),
    }
    return Cases(tuple(names or "abcdefgh"[:number]), counts, {"DSC": np.array(dice, dtype=float)})


def shown(choices):
    return {choice.case: choice.reasons for choice in choices}


def test_best_median_worst_and_most_false_positives():
    model = cases([0.5, 0.9, 0.1, 0.7, 0.6], false_positives=[0, 0, 0, 5, 1])
    assert shown(choose([model], model.names)) == {
        "b": ("best Dice",),
        "e": ("median Dice",),
        "c": ("worst Dice",),
        "d": ("most false positives",),
    }


def test_cases_without_lesions_are_shown_for_false_positives_only():
    model = cases([math.nan, 0.0, 0.4], lesions=[0, 0, 1], false_positives=[0, 3, 0])
    assert shown(choose([model], model.names)) == {
        "c": ("best Dice", "median Dice", "worst Dice"),
        "b": ("most false positives",),
    }


def test_nothing_to_show():
    model = cases([math.nan, math.nan], lesions=[0, 0])
    assert choose([model], model.names) == []
    assert choose([cases([])], []) == []


def test_models_are_shown_on_the_same_cases_and_where_they_differ_most():
    first, second = cases([0.9, 0.2, 0.8, 0.5]), cases([0.9, 0.2, 0.1, 0.5])
    choices = {choice.case: choice for choice in choose([first, second], first.names)}
    assert choices["c"].reasons[-1] == "the models differ most in Dice"
    assert choices["a"].reasons == ("best mean Dice",)
    assert all(choice.models == (0, 1) for choice in choices.values())


def test_models_without_a_common_case_have_their_own():
    first, second = cases([0.9], names=["a"]), cases([0.1], names=["z"])
    assert [(choice.case, choice.models) for choice in choose([first, second], [])] == [("a", (0,)), ("z", (1,))]
