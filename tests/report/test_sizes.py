"""Recall by size of the lesions."""

import numpy as np
import pytest

from nnunetv2_mamba.report.reported_model import Lesions
from nnunetv2_mamba.report.sizes import LESIONS_PER_BIN, bounds_for, recall_by_size, sizes_of_each_lesion
from nnunetv2_mamba.report.statistics import Resampling


def lesions(cases, sizes, true_positive):
    sizes = np.array(sizes, dtype=float)
    return Lesions(np.array(cases, dtype=object), sizes, sizes, np.array(true_positive, dtype=bool))


def test_bins_hold_about_equally_many_lesions():
    bounds = bounds_for(np.arange(1, 161, dtype=float))
    assert bounds.tolist() == [20, 40, 60, 80, 100, 120, 140, 160]


def test_equal_sizes_stay_together_and_no_bin_is_nearly_empty():
    sizes = np.array([1.0] * 100 + [2.0] * 10 + [3.0] * 6 + [9.0])
    assert bounds_for(sizes).tolist() == [1, 9]


@pytest.mark.parametrize("number", [1, LESIONS_PER_BIN])
def test_few_lesions_are_one_bin(number):
    assert bounds_for(np.arange(1.0, number + 1)).tolist() == [number]


def test_no_lesions_have_no_bins():
    assert bounds_for(np.array([])).tolist() == []
    assert recall_by_size(lesions([], [], []), np.array([]), cases=["a"], resampling=Resampling(["a"], draws=5)) == []


def test_recall_of_each_bin_by_hand():
    cases = [f"case_{number}" for number in range(6)]
    # Each case has a lesion of 2, a true positive in every other case, and one of 8, always a true positive.
    both = lesions(cases * 2, [2] * 6 + [8] * 6, [1, 0, 1, 0, 1, 0] + [1] * 6)
    small, large = recall_by_size(both, np.array([4.0, 8.0]), cases=cases, resampling=Resampling(cases))
    assert (small.low, small.high, small.lesions, small.recall.value) == (2, 2, 6, 0.5)
    assert small.recall.low < 0.5 < small.recall.high
    assert (large.lesions, large.recall.value) == (6, 1.0)
    assert not large.recall.has_interval


def test_a_lesion_counts_once_although_two_models_were_evaluated_on_it():
    first = (["a", "b"], lesions(["a", "b"], [1, 2], [1, 1]))
    second = (["b", "c"], lesions(["b", "c"], [2, 3], [0, 1]))
    assert sorted(sizes_of_each_lesion([first, second])) == [1, 2, 3]
