"""Weights from difficulties: their order, their range, and what the constants do."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnunetv2_mamba.training.curriculum.scheduler import Curriculum, TrainingScheduler, effective_sample_size

difficulties = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30, unique=True).map(np.array)
strengths = st.floats(0.01, 1)
progresses = st.floats(0, 1)


def test_pacing_holds_ramps_and_stays():
    pacing = TrainingScheduler(Curriculum()).pacing
    assert [pacing(progress) for progress in (0, 0.05, 0.099)] == [0, 0, 0]
    assert pacing(0.1) == 0
    assert pacing(0.35) == pytest.approx(0.5)
    assert [pacing(progress) for progress in (0.6, 0.8, 1)] == [1, 1, 1]
    ramp = [pacing(progress) for progress in np.linspace(0.1, 0.6, 20)]
    assert all(np.diff(ramp) > 0)


@pytest.mark.parametrize(("hold", "ramp_end"), [(0, 0), (0, 1), (1, 1), (0.5, 0.5)])
def test_pacing_at_the_borders_of_its_constants(hold, ramp_end):
    pacing = TrainingScheduler(Curriculum(hold=hold, ramp_end=ramp_end)).pacing
    values = [pacing(progress) for progress in (0, 0.25, 0.5, 0.75)]
    assert values == sorted(values)
    assert all(0 <= value <= 1 for value in values)
    assert pacing(1) == 1


@given(difficulties, strengths)
def test_weights_follow_ease_at_the_start_and_are_reversed_after_the_ramp(difficulty, strength):
    scheduler = TrainingScheduler(Curriculum(strength=strength))
    first, last = scheduler.weights(difficulty, 0), scheduler.weights(difficulty, 0.6)
    easiest_first = np.argsort(difficulty)
    assert all(np.diff(first[easiest_first]) < 0)
    np.testing.assert_array_equal(first[easiest_first], last[easiest_first[::-1]])


@given(difficulties, strengths, progresses)
def test_weights_stay_in_their_range(difficulty, strength, progress):
    weights = TrainingScheduler(Curriculum(strength=strength)).weights(difficulty, progress)
    assert weights.min() >= 1 - 0.9 * strength - 1e-12
    assert weights.max() <= 1


@given(difficulties, strengths, progresses)
def test_only_the_order_of_difficulties_counts(difficulty, strength, progress):
    scheduler = TrainingScheduler(Curriculum(strength=strength))
    np.testing.assert_array_equal(
        scheduler.weights(difficulty, progress), scheduler.weights(np.argsort(np.argsort(difficulty)), progress)
    )


def test_weights_of_three_cases_by_hand():
    # Ranks 1, 5.5 and 10 of at most 10.
    easy, middle, hard = TrainingScheduler(Curriculum(strength=0.5)).weights(np.array([0.0, 1.0, 2.0]), 0)
    assert (easy, middle, hard) == pytest.approx((1, 0.5 + 0.5 / 5.5, 0.55))
    halfway = TrainingScheduler(Curriculum(strength=1)).weights(np.array([0.0, 1.0, 2.0]), 0.35)
    assert halfway == pytest.approx([0.55, 1 / 5.5, 0.55])


@given(difficulties, strengths, progresses)
def test_weights_minimise_the_two_terms_of_the_objective(difficulty, strength, progress):
    rho = TrainingScheduler(Curriculum(strength=1)).weights(difficulty, progress)
    weights = TrainingScheduler(Curriculum(strength=strength)).weights(difficulty, progress)

    def objective(v):
        return strength * np.square(v - rho) + (1 - strength) * np.square(v - 1)

    for step in (-1e-3, 1e-3):
        assert np.all(objective(weights) <= objective(weights + step))


def test_equal_difficulties_get_equal_weights_and_unranked_cases_get_one():
    weights = TrainingScheduler(Curriculum()).weights(np.array([3.0, np.nan, 1.0, 3.0]), 0)
    assert weights[1] == 1
    assert weights[0] == weights[3] < weights[2]
    without = TrainingScheduler(Curriculum()).weights(np.array([3.0, 1.0, 3.0]), 0)
    np.testing.assert_array_equal(weights[[0, 2, 3]], without)
    np.testing.assert_array_equal(TrainingScheduler(Curriculum()).weights(np.full(2, np.nan), 0.5), [1, 1])


@given(difficulties, progresses)
def test_strength_zero_weights_all_alike(difficulty, progress):
    np.testing.assert_array_equal(TrainingScheduler(Curriculum(strength=0)).weights(difficulty, progress), 1)


@pytest.mark.parametrize(
    ("constants", "message"),
    [
        ({"strength": -0.1}, "lambda, is -0.1: give a number from 0 to 1"),
        ({"strength": 1.5}, "lambda, is 1.5"),
        ({"strength": float("nan")}, "lambda, is nan"),
        ({"max_rank": 0.5}, "max_rank is 0.5"),
        ({"hold": 0.7}, "holds until 0.7 and ramps until 0.6"),
        ({"ramp_end": 1.1}, "ramps until 1.1"),
        ({"loss_decay": 1.0}, "loss_decay is 1.0"),
        ({"ranking": "epoch"}, "ranking is 'epoch'"),
    ],
)
def test_constants_outside_their_range_are_refused(constants, message):
    with pytest.raises(ValueError, match=message):
        Curriculum(**constants)


def test_effective_sample_size():
    assert effective_sample_size(np.ones(7)) == 7
    assert effective_sample_size(np.array([1, 0, 0])) == 1
    ranks = np.arange(1, 1901)
    assert effective_sample_size(1 / ranks) == pytest.approx(40, abs=0.5)
