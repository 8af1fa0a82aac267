"""Scores as ratios of sums over images, and intervals from drawing images again."""

import math

import numpy as np
import pytest

from benchmarks.ablation.intervals import ratios, resampled, size_limits, summary
from nnunetv2_mamba.report.statistics import Resampling

LIMITS = [10.0, 20.0]


def counts(TP=0, FP=0, FN=0, lesions=(), true_positives=(), components=0, true_positive_components=0):
    return {
        "TP": TP,
        "FP": FP,
        "FN": FN,
        "lesions": list(lesions),
        "true_positive_lesions": list(true_positives),
        "components": components,
        "true_positive_components": true_positive_components,
    }


def test_a_third_of_the_lesions_lies_between_the_limits():
    sizes = list(range(1, 301))
    low, high = size_limits(sizes)
    assert sum(size <= low for size in sizes) == sum(low < size <= high for size in sizes) == 100


def test_no_lesions_have_no_limits():
    assert all(map(math.isnan, size_limits([])))


def test_overlaps():
    scores = ratios(counts(TP=6, FP=1, FN=3, lesions=[9], true_positives=[True]), LIMITS)
    assert scores["Dice"] == (12, 16)
    assert scores["IoU"] == (6, 10)
    assert scores["mean Dice"] == (0.75, 1)
    assert scores["mean IoU"] == (0.6, 1)


def test_recall_by_size_and_precision():
    lesions, true_positives = [5, 10, 11, 20, 21, 99], [True, False, True, True, False, False]
    scores = ratios(
        counts(FN=1, lesions=lesions, true_positives=true_positives, components=7, true_positive_components=4), LIMITS
    )
    assert scores["recall"] == (3, 6)
    assert scores["recall, small"] == (1, 2)
    assert scores["recall, medium"] == (2, 2)
    assert scores["recall, large"] == (0, 2)
    assert scores["precision"] == (4, 7)


def test_an_image_without_the_class_counts_by_its_false_positives_over_pixels_and_not_in_means():
    scores = ratios(counts(FP=5, components=1), LIMITS)
    assert scores["Dice"] == (0, 5)
    assert scores["mean Dice"] == scores["mean IoU"] == scores["recall"] == (0, 0)
    assert scores["precision"] == (0, 1)


def test_the_estimate_is_that_of_all_images_together():
    drawn = resampled(np.array([[1, 2], [3, 4], [0, 10]]), Resampling(["a", "b", "c"], 100))
    assert drawn.shape == (101,)
    assert drawn[0] == 4 / 16


def test_images_of_a_cluster_are_drawn_together():
    drawn = resampled(np.array([[1, 1], [0, 1], [1, 1]]), Resampling(["eye", "eye", "other"], 200))
    assert set(drawn[1:].round(6)) == {0.5, round(2 / 3, 6), 1.0}


def test_equal_images_leave_nothing_to_chance():
    drawn = resampled(np.tile([3, 4], (2, 4, 1)), Resampling(list("abcd"), 50))
    assert summary(drawn) == {"mean": 0.75, "interval": [0.75, 0.75], "seeds": [0.75, 0.75]}


def test_the_interval_of_a_mean_is_that_of_its_standard_error():
    values = np.random.default_rng(1).normal(0, 1, 400)
    drawn = resampled(
        np.stack([values, np.ones(400)], -1)[None], Resampling([str(image) for image in range(400)], 4000)
    )
    low, high = summary(drawn)["interval"]
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.08)


def test_what_one_seed_does_not_define_has_no_mean():
    drawn = resampled(np.array([[[1, 2], [1, 2]], [[0, 0], [0, 0]]]), Resampling(["a", "b"], 10))
    assert summary(drawn) == {"mean": None, "interval": None, "seeds": [0.5, None]}


def test_the_same_draws_come_again():
    table = np.random.default_rng(0).integers(1, 9, (6, 2))
    first, second = (resampled(table, Resampling(list("abcdef"), 20)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_counts_of_earlier_versions_give_the_same_scores():
    now = counts(
        TP=6, FP=1, FN=3, lesions=[9, 30], true_positives=[True, False], components=3, true_positive_components=2
    )
    before = {"true_positive_lesions": "found", "components": "predicted", "true_positive_components": "right"}
    assert ratios({before.get(name, name): value for name, value in now.items()}, LIMITS) == ratios(now, LIMITS)
