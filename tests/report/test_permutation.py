"""Models that are alike are rarely told apart, and those that differ are."""

import itertools
import math

import numpy as np
import pytest

from nnunetv2_mamba.evaluation.metric import ratio
from nnunetv2_mamba.report.permutation import EVERY_WAY_UP_TO, RANDOM_WAYS, Exchanges

ALPHA = 0.05
LESIONS = 60


def names(number):
    return [f"case_{index}" for index in range(number)]


def recall(counts):
    return {"recall": ratio(counts["found"], counts["lesions"])}


def drawn(rng, cases, effect=0.0):
    """True positive lesions of two models in cases of unequal difficulty; the first has a higher recall by `effect`."""
    lesions = 1 + rng.poisson(LESIONS, cases)
    share = rng.uniform(0.2, 0.8 - effect, cases)
    found = (rng.binomial(lesions, share + effect), rng.binomial(lesions, share))
    return [{"lesions": lesions.astype(float), "found": each.astype(float)} for each in found]


@pytest.mark.parametrize("cases", [6, 10, 20])
def test_models_that_are_alike_are_told_apart_as_rarely_as_promised(cases):
    rng, exchanges = np.random.default_rng(cases), Exchanges(names(cases))
    p = np.array([exchanges.p_of_pooled(*drawn(rng, cases), recall)["recall"] for _ in range(400)])
    # So many of 400 leave the promises standing; p of six cases has few values, and is the more careful for it.
    assert (0.02 if cases > 6 else 0) < (p < ALPHA).mean() <= 0.075
    assert (0.4 if cases > 6 else 0.3) < (p < 0.5).mean() <= 0.56


def test_patients_who_are_alike_within_do_not_count_as_many():
    rng, patients = np.random.default_rng(1), np.repeat(names(8), 5)
    differences = [np.repeat(rng.normal(size=8), 5) for _ in range(300)]
    by_patient, by_case = Exchanges(patients), Exchanges(names(40))
    assert np.mean([by_patient.p_of_mean(each) < ALPHA for each in differences]) <= 0.08
    assert np.mean([by_case.p_of_mean(each) < ALPHA for each in differences]) > 0.2


@pytest.mark.parametrize("cases", [10, 20])
def test_an_effect_that_is_there_is_seen(cases):
    rng, exchanges = np.random.default_rng(3), Exchanges(names(cases))
    p = [exchanges.p_of_pooled(*drawn(rng, cases, effect=0.2), recall)["recall"] for _ in range(40)]
    assert np.mean(np.array(p) < ALPHA) > 0.9


def test_p_by_hand():
    counts = [
        {"found": np.array(found, dtype=float), "lesions": np.array([4.0, 2, 3])} for found in ([4, 1, 1], [1, 0, 3])
    ]
    differences = []
    for ways in itertools.product([0, 1], repeat=3):
        found = np.where(ways, counts[1]["found"], counts[0]["found"]), np.where(ways, *(c["found"] for c in counts))
        differences.append(abs(found[0].sum() - found[1].sum()))
    expected = np.mean(np.array(differences) >= differences[0])
    assert Exchanges(names(3)).p_of_pooled(*counts, recall)["recall"] == pytest.approx(expected)
    assert Exchanges(names(3)).p_of_mean(np.array([3.0, 1, -2])) == pytest.approx(expected)


def test_everything_against_nothing_is_no_chance():
    lesions = np.arange(1.0, 23)
    everything, nothing = ({"found": found, "lesions": lesions} for found in (lesions, 0 * lesions))
    assert Exchanges(names(22)).p_of_pooled(everything, nothing, recall)["recall"] == pytest.approx(
        1 / (1 + RANDOM_WAYS)
    )
    few = [{name: values[:8] for name, values in counts.items()} for counts in (everything, nothing)]
    assert Exchanges(names(8)).p_of_pooled(*few, recall)["recall"] == 2 / 2**8 == Exchanges(names(8)).least_p


def test_models_that_do_the_same_have_the_largest_p():
    assert Exchanges(names(20)).p_of_mean(np.zeros(20)) == 1


def test_every_way_is_taken_while_they_are_few():
    assert Exchanges(names(12)).least_p == 2 / EVERY_WAY_UP_TO
    assert Exchanges(names(13)).least_p == 1 / (1 + RANDOM_WAYS)


def test_what_is_not_defined_has_no_p():
    assert math.isnan(Exchanges(names(3)).p_of_mean(np.full(3, math.nan)))
    counts = {"found": np.zeros(3), "lesions": np.zeros(3)}
    assert math.isnan(Exchanges(names(3)).p_of_pooled(counts, counts, recall)["recall"])
