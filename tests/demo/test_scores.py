"""Scores are nnU-Net's numbers, read from its summary."""

import json
import math

import pytest

from nnunetv2_mamba.demo.scores import format_dice, read_scores


def metrics(tp, fp, fn):
    return {"Dice": 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else math.nan, "TP": tp, "FP": fp, "FN": fn}


@pytest.fixture
def scores(tmp_path):
    cases = [
        {"prediction_file": "/p/a.png", "metrics": {"1": metrics(10, 0, 0), "2": metrics(0, 0, 0)}},
        {"prediction_file": "/p/b.png", "metrics": {"1": metrics(45, 30, 80), "2": metrics(0, 0, 0)}},
    ]
    summary = {"metric_per_case": cases, "mean": {"1": {"Dice": 0.725}, "2": {"Dice": math.nan}}}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "hard_exudate": 1, "other": 2}}))
    return read_scores(tmp_path / "summary.json", tmp_path / "dataset.json")


def test_background_is_left_out_and_names_are_readable(scores):
    assert [score.label for score in scores] == ["hard exudate", "other"]


def test_mean_and_cases_are_those_of_the_summary(scores):
    assert scores[0].mean == 0.725
    assert scores[0].per_case == {"a": 1.0, "b": 0.45}


def test_pooled_counts_pixels(scores):
    assert scores[0].pooled == pytest.approx(110 / 220)


def test_nothing_to_measure_is_nan(scores):
    assert math.isnan(scores[1].mean)
    assert math.isnan(scores[1].pooled)
    assert format_dice(scores[1].pooled) == "-"
    assert format_dice(0.456) == "0.46"
