"""Scores as ratios of sums over images, and intervals from drawing images again."""

import math
from dataclasses import asdict

import numpy as np
import pytest

from benchmarks.ablation.intervals import Bootstrap, ratios, size_limits, summary
from benchmarks.ablation.scores import Comparison

LIMITS = [10.0, 20.0]


def counts(TP=0, FP=0, FN=0, lesions=(), found=(), predicted=0, right=0):
    return asdict(Comparison(TP, FP, FN, list(lesions), list(found), predicted, right))


def test_a_third_of_the_lesions_lies_between_the_limits():
    sizes = list(range(1, 301))
    low, high = size_limits(sizes)
    assert sum(size <= low for size in sizes) == sum(low < size <= high for size in sizes) == 100


def test_no_lesions_have_no_limits():
    assert all(map(math.isnan, size_limits([])))


def test_overlaps():
    scores = ratios(counts(TP=6, FP=1, FN=3, lesions=[9], found=[True]), LIMITS)
    assert scores["Dice"] == (12, 16)
    assert scores["IoU"] == (6, 10)
    assert scores["mean Dice"] == (0.75, 1)
    assert scores["mean IoU"] == (0.6, 1)


def test_recall_by_size_and_precision():
    lesions, found = [5, 10, 11, 20, 21, 99], [True, False, True, True, False, False]
    scores = ratios(counts(FN=1, lesions=lesions, found=found, predicted=7, right=4), LIMITS)
    assert scores["recall"] == (3, 6)
    assert scores["recall, small"] == (1, 2)
    assert scores["recall, medium"] == (2, 2)
    assert scores["recall, large"] == (0, 2)
    assert scores["precision"] == (4, 7)


def test_an_image_without_the_class_counts_by_its_false_positives_over_pixels_and_not_in_means():
    scores = ratios(counts(FP=5, predicted=1), LIMITS)
    assert scores["Dice"] == (0, 5)
    assert scores["mean Dice"] == scores["mean IoU"] == scores["recall"] == (0, 0)
    assert scores["precision"] == (0, 1)


def test_the_estimate_is_that_of_all_images_together():
    drawn = Bootstrap(["a", "b", "c"], 100).scores(np.array([[1, 2], [3, 4], [0, 10]]))
    assert drawn.shape == (101,)
    assert drawn[0] == 4 / 16


def test_images_of_a_cluster_are_drawn_together():
    drawn = Bootstrap(["eye", "eye", "other"], 200).scores(np.array([[1, 1], [0, 1], [1, 1]]))
    assert set(drawn[1:].round(6)) == {0.5, round(2 / 3, 6), 1.0}


def test_equal_images_leave_nothing_to_chance():
    drawn = Bootstrap(list("abcd"), 50).scores(np.tile([3, 4], (2, 4, 1)))
    assert summary(drawn) == {"mean": 0.75, "interval": [0.75, 0.75], "seeds": [0.75, 0.75]}


def test_the_interval_of_a_mean_is_that_of_its_standard_error():
    values = np.random.default_rng(1).normal(0, 1, 400)
    drawn = Bootstrap([str(image) for image in range(400)], 4000).scores(np.stack([values, np.ones(400)], -1)[None])
    low, high = summary(drawn)["interval"]
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.08)


def test_what_one_seed_does_not_define_has_no_mean():
    drawn = Bootstrap(["a", "b"], 10).scores(np.array([[[1, 2], [1, 2]], [[0, 0], [0, 0]]]))
    assert summary(drawn) == {"mean": None, "interval": None, "seeds": [0.5, None]}


def test_the_same_draws_come_again():
    table = np.random.default_rng(0).integers(1, 9, (6, 2))
    first, second = (Bootstrap(list("abcdef"), 20).scores(table) for _ in range(2))
    np.testing.assert_array_equal(first, second)
