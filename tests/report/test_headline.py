"""The outcome in words: more lesions found is no win by itself, and chance is not praised."""

from functools import partial

import numpy as np
import pytest

from nnunetv2_mamba.evaluation.metrics import COUNTS, pooled
from nnunetv2_mamba.evaluation.protocol import Protocol
from nnunetv2_mamba.report.headline import MOST_PAIRS, comparison, headline
from nnunetv2_mamba.report.scores import Result, Scores, adjust, pair
from nnunetv2_mamba.report.source import Cases, Lesions
from nnunetv2_mamba.report.statistics import Resampling

POOLED = partial(pooled, protocol=Protocol())
LESIONS = 10.0


def counted(found, right=None, invented=0.0, dice=0.8, cases=22):
    """Cases of ten lesions each, in which so many are found by so many components with such a Dice."""
    names = tuple(f"case_{number:02d}" for number in range(cases))
    columns = {name: np.zeros(cases) for name in COUNTS}
    # Cases that are a little different, or all draws of them are alike.
    found = np.broadcast_to(np.asarray(found, dtype=float), cases)
    right = found if right is None else np.full(cases, float(right))
    columns |= {
        "cases": np.ones(cases),
        "lesions": np.full(cases, LESIONS),
        "found": found,
        "components": right + invented,
        "right": right,
        "lesion_dice": found * dice,
    }
    metrics = {"DSC": np.full(cases, dice) + np.linspace(0, 0.01, cases), "lesion_recall": found / LESIONS}
    return Cases(names, columns, metrics | {"lesion_dice": found * dice / LESIONS})


def compared(*models):
    """Sentences on models called a, b, ..."""
    names = models[0].names
    pairs = [
        pair((one, other), models, names, names, POOLED)
        for one in range(len(models))
        for other in range(one + 1, len(models))
    ]
    return " ".join(comparison(adjust(pairs), "abcdefg", "case")).replace("\u00a0", " ")


def card(cases):
    resampling = Resampling(cases.names)
    lesions = Lesions(np.array([]), np.array([]), np.array([]), np.array([], dtype=bool))
    result = Result(0, "a", {"strata": []}, Scores(cases, resampling, POOLED), resampling, lesions)
    return headline(result, Protocol().as_dict())


def test_painting_everything_does_not_read_like_a_win():
    everything, some = counted(10, right=1, invented=1.0, dice=0.01), counted(np.arange(22) % 3 + 5)
    words = compared(everything, some)
    assert words.startswith("By more than chance would explain, a finds more lesions than b (p < 0.001), but has ")
    assert "more inventions per case (1.000 against 0.000)" in words
    assert "a lower Dice per lesion (0.010 against 0.4" in words
    assert "and a lower mean Dice (0.015 against 0.8" in words
    assert dict(map(reversed, card(everything).figures))["Dice per lesion"] == "0.01"
    assert card(everything).warnings == [
        "22 predicted components find 220 lesions: one covers several. "
        "Counted one to one, at most 10 % of the lesions would be found."
    ]
    assert card(some).warnings == []


def test_a_win_without_a_price_has_no_but():
    words = compared(counted(np.arange(22) % 3 + 5), counted(2, dice=0.5))
    assert words == "By more than chance would explain, a finds more lesions than b (p < 0.001)."


def test_the_better_of_two_is_named_whichever_comes_first():
    assert "b finds more lesions than a" in compared(counted(2), counted(np.arange(22) % 3 + 5))


def test_everything_against_nothing_has_a_sentence_although_all_draws_are_alike():
    perfect, empty = counted(10, dice=1.0), counted(0, dice=0.0)
    assert compared(perfect, empty) == "By more than chance would explain, a finds more lesions than b (p < 0.001)."


def test_equal_numbers_of_lesions_are_not_equal_models():
    words = compared(counted(10, dice=1.0), counted(10, right=1, dice=0.01))
    assert words == (
        "There is no difference in the number of lesions found between a and b. "
        "But by more than chance a has a higher Dice per lesion than b (1.000 against 0.010)."
    )


@pytest.mark.parametrize("cases", [5, 9])
def test_few_cases_are_not_called_a_difference(cases):
    first, second = counted(np.arange(cases) % 3 + 5, cases=cases), counted(np.arange(cases) % 3 + 4, cases=cases)
    words = compared(first, second)
    assert ("too few cases to tell" in words) == (cases == 5)
    assert ("By more than chance" in words) == (cases == 9)


def test_many_pairs_are_not_named_one_by_one():
    rng = np.random.default_rng(0)
    words = compared(*(counted(rng.integers(4, 7, 22)) for _ in range(6)))
    assert words == "Chance may explain the difference in lesions found in all 15 pairs of models."
    three = compared(*(counted(rng.integers(4, 7, 22)) for _ in range(3)))
    assert three.count("between") == MOST_PAIRS
