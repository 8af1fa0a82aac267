"""Counts that all scores of the ablation follow from, on masks whose answers one can see."""

import json

import numpy as np
import pytest

from benchmarks.ablation.scores import counts_of


def drawn(*lines):
    return np.array([[pixel == "#" for pixel in line] for line in lines])


def test_pixels_are_counted():
    counts = counts_of(drawn("##..", "...."), drawn(".##.", "...."))
    assert (counts["TP"], counts["FP"], counts["FN"]) == (1, 1, 1)


def test_lesions_that_touch_at_a_corner_are_one():
    reference = drawn("#...#", ".#...", ".....")
    counts = counts_of(reference, drawn("#....", ".....", "....."))
    assert sorted(counts["lesions"]) == [1, 2]
    assert dict(zip(counts["lesions"], counts["true_positive_lesions"], strict=True)) == {2: True, 1: False}


def test_a_prediction_next_to_a_lesion_does_not_find_it():
    counts = counts_of(drawn("#.."), drawn(".#."))
    assert counts["true_positive_lesions"] == [False]
    assert (counts["components"], counts["true_positive_components"]) == (1, 0)


def test_one_prediction_may_find_several_lesions_and_is_right_once():
    counts = counts_of(drawn("#.#.#"), drawn("###.."))
    assert counts["true_positive_lesions"] == [True, True, False]
    assert (counts["components"], counts["true_positive_components"]) == (1, 1)


def test_an_empty_image_has_no_lesions():
    empty = np.zeros((3, 3), dtype=bool)
    counts = counts_of(empty, empty)
    assert (
        counts["TP"],
        counts["FP"],
        counts["FN"],
        counts["lesions"],
        counts["true_positive_lesions"],
        counts["components"],
    ) == (0, 0, 0, [], [], 0)


def test_counts_agree_with_each_other():
    rng = np.random.default_rng(0)
    reference, predicted = rng.random((2, 64, 64)) < 0.2
    counts = counts_of(reference, predicted)
    assert sum(counts["lesions"]) == counts["TP"] + counts["FN"] == reference.sum()
    assert predicted.sum() == counts["TP"] + counts["FP"]
    mirrored = counts_of(predicted, reference)
    assert (mirrored["components"], mirrored["true_positive_components"]) == (
        len(counts["lesions"]),
        sum(counts["true_positive_lesions"]),
    )


def test_counts_can_be_kept_as_json():
    counts = counts_of(drawn("##.#"), drawn(".###"))
    assert json.loads(json.dumps(counts)) == counts


def test_masks_of_different_shape_are_refused():
    with pytest.raises(ValueError, match=r"\(1, 2\)"):
        counts_of(drawn("..."), drawn(".."))
