"""What is kept of a predicted image, on a hand-drawn one."""

import numpy as np

from benchmarks.small_lesions.scoring import THRESHOLDS, detected_lesions, score_class


def test_lesions_and_false_positives_at_each_threshold():
    reference = np.zeros((8, 12), bool)
    reference[0:2, 0:2] = True
    reference[5:8, 8:11] = True
    probability = np.zeros((8, 12))
    probability[0, 0:2] = 0.6
    probability[5:8, 8:11] = 0.92
    probability[0, 8] = 0.25
    probability[3, 4] = 0.96
    scores = score_class(probability, reference, (1.0, 1.0))
    assert scores["voxels"] == [4, 9]
    by_threshold = dict(zip(THRESHOLDS, zip(scores["detected"], scores["false_positives"], strict=True), strict=True))
    assert by_threshold[0.2] == ("3", 2)
    assert by_threshold[0.5] == ("3", 1)
    assert by_threshold[0.7] == ("2", 1)
    assert by_threshold[0.95] == ("0", 1)
    assert by_threshold[0.98] == ("0", 0)
    assert detected_lesions(scores, THRESHOLDS.index(0.7)).tolist() == [False, True]
    assert (scores["TP"], scores["FP"], scores["FN"]) == (11, 1, 2)


def test_an_empty_image_has_no_lesions_and_no_surface():
    scores = score_class(np.zeros((4, 4)), np.zeros((4, 4), bool), (1.0, 1.0))
    assert scores["voxels"] == []
    assert detected_lesions(scores, 0).tolist() == []
    assert set(scores["false_positives"]) == {0}


def test_a_prediction_of_the_whole_image_detects_nothing():
    reference = np.zeros((16, 16), bool)
    reference[2:4, 2:4] = reference[10:13, 10:13] = True
    scores = score_class(np.full((16, 16), 0.9), reference, (1.0, 1.0))
    assert scores["detected"][0] == "0"
    assert scores["false_positives"][0] == 1


def test_a_component_over_two_lesions_detects_one():
    reference = np.zeros((8, 12), bool)
    reference[2:5, 1:4] = reference[2:5, 5:9] = True
    probability = np.zeros((8, 12))
    probability[2:5, 1:9] = 0.9
    scores = score_class(probability, reference, (1.0, 1.0))
    assert scores["detected"][0] == "2"
