"""Scores are the numbers of the two evaluations, read from their files."""

import json
import math

import pytest

from nnunetv2_mamba.demo.scores import format_score, read_scores, table_of


def case(name, dice, lesions, found):
    targets = {
        "hard_exudate": {"counts": {"lesions": lesions, "true_positive_lesions": found}, "metrics": {"DSC": dice}},
        "other": {"counts": {"lesions": 0, "true_positive_lesions": 0}, "metrics": {"DSC": None}},
    }
    return {"case": name, "targets": targets}


@pytest.fixture
def scores(tmp_path):
    report = {
        "targets": {
            "hard_exudate": {"labels": [1], "pooled": {"DSC": 0.5, "fp_per_case": 1.5}},
            "other": {"labels": [2], "pooled": {"DSC": None, "fp_per_case": 0.0}},
        },
        "cases": [case("a", 1.0, 2, 2), case("b", 0.45, 7, 3)],
    }
    (tmp_path / "lesion_summary.json").write_text(json.dumps(report))
    (tmp_path / "summary.json").write_text(json.dumps({"mean": {"1": {"Dice": 0.725}, "2": {"Dice": math.nan}}}))
    return read_scores(tmp_path)


def test_names_are_readable(scores):
    assert [score.label for score in scores] == ["hard exudate", "other"]


def test_the_mean_is_nnunets_and_the_rest_ours(scores):
    assert scores[0].mean == 0.725
    assert scores[0].per_case == {"a": 1.0, "b": 0.45}
    assert scores[0].pooled == 0.5
    assert (scores[0].true_positives, scores[0].lesions, scores[0].false_positives) == (5, 9, 1.5)


def test_nothing_to_measure_is_nan(scores):
    assert math.isnan(scores[1].mean)
    assert math.isnan(scores[1].pooled)
    assert math.isnan(scores[1].per_case["a"])
    assert format_score(scores[1].pooled) == "-"
    assert format_score(0.456) == "0.46"


def test_the_table_has_a_line_a_label(scores):
    lines = [line.split() for line in list(table_of(scores))[1:]]
    assert lines == [
        ["hard", "exudate", "0.72", "0.50", "5", "of", "9", "1.50"],
        ["other", "-", "-", "0", "of", "0", "0.00"],
    ]
