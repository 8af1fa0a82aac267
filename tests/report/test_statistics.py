"""Intervals hold what they promise, and tests of pairs see an effect that is there and none that is not."""

import math

import numpy as np
import pytest

from nnunetv2_mamba.evaluation.metric import ratio
from nnunetv2_mamba.report.statistics import MIN_CASES, Resampling, holm, signed_rank


def names(number):
    return [f"case_{index}" for index in range(number)]


def interval_of_mean(values, groups=None, seed=0):
    resampling = Resampling(groups or names(len(values)), draws=400, seed=seed)
    return resampling.estimate(resampling.mean(values), np.isfinite(values))


def test_the_value_is_that_of_the_cases_as_they_are():
    sums = Resampling(names(3), draws=10).sums({"found": np.array([1.0, 0, 2]), "lesions": np.array([2.0, 3, 5])})
    assert sums["found"].shape == (11,)
    assert ratio(sums["found"], sums["lesions"])[0] == pytest.approx(0.3)


def test_draws_are_the_same_every_time_and_of_as_many_cases():
    first, second = Resampling(names(7)), Resampling(names(7))
    assert (first.weights == second.weights).all()
    assert (first.weights.sum(axis=1) == 7).all()


def test_cases_of_a_patient_are_drawn_together():
    weights = Resampling(["a", "b", "a", "c", "b", "a"], draws=50).weights
    assert (weights[:, [0, 0, 1]] == weights[:, [2, 5, 4]]).all()
    assert (weights[1:, 0] != weights[1:, 1]).any()


def test_patients_are_fewer_than_cases_and_their_intervals_wider():
    patients = np.repeat(np.random.default_rng(0).normal(size=15), 4)
    by_case, by_patient = (interval_of_mean(patients, groups) for groups in (None, np.repeat(names(15), 4).tolist()))
    assert by_patient.high - by_patient.low > 1.5 * (by_case.high - by_case.low)


def test_cases_without_a_value_are_in_no_mean():
    values = np.array([0.1, math.nan, 0.3, 0.2, math.nan, 0.4, 0.5])
    estimate = interval_of_mean(values)
    assert estimate.value == pytest.approx(0.3)
    assert estimate.cases == 5
    assert 0.1 <= estimate.low < 0.3 < estimate.high <= 0.5


@pytest.mark.parametrize(
    "values",
    [np.arange(MIN_CASES - 1) / 10, np.full(30, 0.7), np.full(8, math.nan)],
    ids=["too few", "all alike", "none defined"],
)
def test_no_interval_is_made_up(values):
    estimate = interval_of_mean(values)
    assert not estimate.has_interval


def test_too_few_patients_make_no_interval_however_many_cases():
    values = np.random.default_rng(0).normal(size=40)
    assert not interval_of_mean(values, ["a", "b", "c", "d"] * 10).has_interval


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(1)
    truth = 1.0
    inside = [
        (e := interval_of_mean(rng.exponential(truth, 40), seed=seed)).low <= truth <= e.high for seed in range(300)
    ]
    assert 0.88 <= np.mean(inside) <= 0.98


def test_a_difference_that_is_there_is_seen_with_its_sign_and_one_that_is_not_is_not():
    rng = np.random.default_rng(2)
    case = rng.uniform(0.2, 0.8, 40)
    first, second, equal = (case + effect + rng.normal(0, 0.05, 40) for effect in (0.05, 0, 0))
    assert interval_of_mean(first - second).low > 0
    assert interval_of_mean(second - first).high < 0
    assert (interval := interval_of_mean(second - equal)).low < 0 < interval.high
    assert signed_rank(first, second, names(40)).p < 0.001
    assert signed_rank(second, equal, names(40)).p > 0.05


def test_signed_rank_of_a_few_pairs_by_hand():
    # All five differences point one way: of the 2^5 ways to sign them, two are as far out.
    values = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4]), np.array([0.8, 0.6, 0.4, 0.2, 0.0, math.nan])
    result = signed_rank(*values, names(6))
    assert result.p == pytest.approx(2 / 32)
    assert (result.pairs, result.first_better, result.second_better) == (5, 5, 0)


def test_equal_values_leave_nothing_to_test():
    result = signed_rank(np.array([0.5, 0.7, math.nan]), np.array([0.5, 0.7, 0.1]), names(3))
    assert math.isnan(result.p)
    assert (result.pairs, result.first_better, result.second_better) == (2, 0, 0)


def test_a_patient_is_one_pair_however_many_cases():
    first, second = np.array([0.9, 0.5, 0.4, 0.8, math.nan]), np.array([0.8, 0.4, 0.6, 0.8, 0.1])
    result = signed_rank(first, second, ["a", "a", "b", "b", "c"])
    # a is ahead by 0.1 on average, b behind by 0.1, and c has no pair of values.
    assert (result.pairs, result.first_better, result.second_better) == (2, 1, 1)
    many = np.repeat(np.random.default_rng(0).normal(size=6), 10)
    assert signed_rank(many, np.zeros(60), names(60)).p < signed_rank(many, np.zeros(60), np.repeat(names(6), 10)).p


def test_p_values_are_adjusted_for_their_number():
    assert holm([0.01, 0.04, math.nan, 0.03]) == pytest.approx([0.03, 0.06, math.nan, 0.06], nan_ok=True)
    assert holm([0.6, 0.9]) == [1.0, 1.0]
