"""Averages of losses, whatever the order of the steps and the number of processes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnunetv2_mamba.training.curriculum.difficulty import DifficultyMeasurer, size_thirds

SIZES = {"b": 0.02, "a": 0.5, "empty": float("nan"), "c": 0.001}


def alone(values: np.ndarray) -> np.ndarray:
    return values


def measurer(**epoch: list[float]) -> DifficultyMeasurer:
    measurer = DifficultyMeasurer(SIZES, 0.9)
    record(measurer, **epoch)
    return measurer


def record(measurer: DifficultyMeasurer, **epoch: list[float]) -> np.ndarray:
    for case, losses in epoch.items():
        measurer.record(measurer.positions([case] * len(losses)), np.array(losses))
    return measurer.end_epoch(alone)


def test_small_lesions_are_hard_and_cases_without_are_not_ranked():
    difficulty = dict(zip(measurer().cases, measurer().by_size(), strict=True))
    assert difficulty["a"] == 0 < difficulty["b"] == 0.5 < difficulty["c"] == 1
    assert np.isnan(difficulty["empty"])


def test_losses_replace_sizes_case_by_case():
    fresh = measurer()
    np.testing.assert_array_equal(fresh.by_loss(), fresh.by_size())
    seen = measurer(a=[0.9], b=[0.1], c=[0.5])
    assert dict(zip(seen.cases, seen.by_loss(), strict=True))["a"] == 1
    partly = measurer(a=[0.9], b=[0.1])
    assert partly.by_loss()[partly.positions(["c"])] == partly.by_size()[partly.positions(["c"])]


def test_a_case_without_lesions_is_never_ranked_by_its_loss():
    seen = measurer(empty=[0.3], a=[0.2])
    assert np.isnan(seen.by_loss()[seen.positions(["empty"])])


def test_average_decays_with_each_visit():
    seen = measurer(a=[1.0])
    np.testing.assert_allclose(seen.losses[seen.positions(["a"])], 1)
    mean = record(seen, a=[0.0, 0.5])
    assert mean[seen.positions(["a"])] == 0.25
    np.testing.assert_allclose(seen.losses[seen.positions(["a"])], 0.25 + 0.9**2 * 0.75)
    assert seen.visits[seen.positions(["a"])] == 3
    record(seen, b=[1.0])
    np.testing.assert_allclose(seen.losses[seen.positions(["a"])], 0.25 + 0.9**2 * 0.75)


visits = st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.floats(-2, 2)), max_size=20)


@given(visits, st.randoms(use_true_random=False))
def test_neither_order_nor_spread_over_processes_matters(epoch, random):
    shuffled = random.sample(epoch, len(epoch))
    one, two = measurer(), [measurer(), measurer()]
    for case, loss in epoch:
        one.record(one.positions([case]), np.array([loss]))
    for number, (case, loss) in enumerate(shuffled):
        two[number % 2].record(two[0].positions([case]), np.array([loss]))
    total = two[0]._epoch + two[1]._epoch
    expected = one.end_epoch(alone)
    for process in two:
        np.testing.assert_allclose(process.end_epoch(lambda _: total), expected, atol=1e-12)
        np.testing.assert_allclose(process.losses, one.losses, atol=1e-12)
        np.testing.assert_array_equal(process.visits, one.visits)


def test_losses_that_are_not_finite_are_left_out():
    seen = measurer(a=[0.5, float("nan"), float("inf")])
    np.testing.assert_allclose(seen.losses[seen.positions(["a"])], 0.5)
    assert seen.visits.sum() == 1


def test_state_is_restored_exactly():
    seen = measurer(a=[0.1, 0.7], c=[0.3])
    again = DifficultyMeasurer(SIZES, 0.9)
    assert again.load_state_dict(seen.state_dict()) == []
    np.testing.assert_array_equal(again.losses, seen.losses)
    np.testing.assert_array_equal(again.visits, seen.visits)


def test_cases_that_came_or_went_are_told_apart():
    state = measurer(a=[0.1]).state_dict()
    changed = DifficultyMeasurer({"a": 0.5, "new": 0.1}, 0.9)
    assert changed.load_state_dict(state) == ["new"]
    np.testing.assert_array_equal(changed.losses, [0.1, np.nan])


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([1, 2, 3, 4, 5, 6], [0, 0, 1, 1, 2, 2]),
        ([3, np.nan, 1, 2], [2, -1, 0, 1]),
        ([5], [1]),
        ([np.nan], [-1]),
    ],
)
def test_thirds(sizes, expected):
    assert size_thirds(np.array(sizes, dtype=float)).tolist() == expected
