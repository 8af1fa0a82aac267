"""Counts that all scores of the ablation follow from, on masks whose answers one can see."""

import numpy as np
import pytest

from benchmarks.ablation.scores import compare


def drawn(*lines):
    return np.array([[pixel == "#" for pixel in line] for line in lines])


def test_pixels_are_counted():
    counts = compare(drawn("##..", "...."), drawn(".##.", "...."))
    assert (counts.TP, counts.FP, counts.FN) == (1, 1, 1)


def test_lesions_that_touch_at_a_corner_are_one():
    reference = drawn("#...#", ".#...", ".....")
    counts = compare(reference, drawn("#....", ".....", "....."))
    assert sorted(counts.lesions) == [1, 2]
    assert dict(zip(counts.lesions, counts.found, strict=True)) == {2: True, 1: False}


def test_a_prediction_next_to_a_lesion_does_not_find_it():
    counts = compare(drawn("#.."), drawn(".#."))
    assert counts.found == [False]
    assert (counts.predicted, counts.right) == (1, 0)


def test_one_prediction_may_find_several_lesions_and_is_right_once():
    counts = compare(drawn("#.#.#"), drawn("###.."))
    assert counts.found == [True, True, False]
    assert (counts.predicted, counts.right) == (1, 1)


def test_an_empty_image_has_no_lesions():
    empty = np.zeros((3, 3), dtype=bool)
    counts = compare(empty, empty)
    assert (counts.TP, counts.FP, counts.FN, counts.lesions, counts.found, counts.predicted) == (0, 0, 0, [], [], 0)


def test_counts_agree_with_each_other():
    rng = np.random.default_rng(0)
    reference, predicted = rng.random((2, 64, 64)) < 0.2
    counts = compare(reference, predicted)
    assert sum(counts.lesions) == counts.TP + counts.FN == reference.sum()
    assert predicted.sum() == counts.TP + counts.FP
    mirrored = compare(predicted, reference)
    assert (mirrored.predicted, mirrored.right) == (len(counts.lesions), sum(counts.found))


def test_counts_can_be_kept_as_json():
    import json
    from dataclasses import asdict

    counts = asdict(compare(drawn("##.#"), drawn(".###")))
    assert json.loads(json.dumps(counts)) == counts


def test_masks_of_different_shape_are_refused():
    with pytest.raises(ValueError, match=r"\(1, 2\)"):
        compare(drawn("..."), drawn(".."))
