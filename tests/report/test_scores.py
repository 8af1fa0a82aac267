"""Metrics with intervals from counts, and models against each other."""

import math
from functools import partial

import numpy as np
import pytest

from nnunetv2_mamba.evaluation.metric import COUNTS
from nnunetv2_mamba.evaluation.metrics import pooled
from nnunetv2_mamba.evaluation.protocol import Protocol
from nnunetv2_mamba.report.reported_model import Cases
from nnunetv2_mamba.report.scores import ModelScores, adjust, compare_models
from nnunetv2_mamba.report.statistics import Resampling
from tests.report.models import model

POOLED = partial(pooled, protocol=Protocol())


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return [model(folder, "good", 0.9), model(folder, "bad", 0.3)]


@pytest.mark.parametrize("over", ["pooled", "mean"])
def test_values_are_those_of_the_summary(sources, over):
    for source in sources:
        cases = source.cases("lesion")
        scores = ModelScores(cases, Resampling(cases.names, draws=20), POOLED)
        for name, value in source.summary["targets"]["lesion"][over].items():
            expected = math.nan if value is None else value
            assert scores.estimate(name, over).value == pytest.approx(expected, nan_ok=True), name


def test_a_distance_has_no_pooled_form(sources):
    cases = sources[0].cases("lesion")
    scores = ModelScores(cases, Resampling(cases.names, draws=20), POOLED)
    assert math.isnan(scores.estimate("HD95", "pooled").value)
    assert math.isfinite(scores.estimate("HD95", "mean").value)


def test_pairs_are_paired(sources):
    models = [source.cases("lesion") for source in sources]
    compared = compare_models((0, 1), models, names=models[0].names, groups=models[0].names, pooled=POOLED)
    turned = compare_models((1, 0), models, names=models[0].names, groups=models[0].names, pooled=POOLED)
    difference = compared.difference("lesion_recall")
    recall = difference.estimate
    values = [source.summary["targets"]["lesion"]["pooled"]["lesion_recall"] for source in sources]
    assert recall.value == pytest.approx(values[0] - values[1])
    assert recall.low > 0
    assert difference.p == turned.difference("lesion_recall").p < 0.05
    assert turned.difference("lesion_recall").estimate.high == pytest.approx(-recall.low)
    assert compared.test.p == pytest.approx(turned.test.p)
    assert compared.test.first_better > compared.test.second_better


def test_a_mean_is_compared_over_the_cases_where_both_have_a_value():
    names = tuple("abcdefgh")
    counts = {name: np.ones(8) for name in COUNTS}
    dice = np.array([[0.9, 0.8, 0.7, 0.6, 0.5, 0.4, math.nan, 0.0], [0.8, 0.8, 0.5, 0.6, 0.4, math.nan, 1.0, 0.3]])
    models = [Cases(names, counts, {"DSC": values}) for values in dice]
    compared = compare_models((0, 1), models, names=names, groups=names, pooled=POOLED)
    difference = compared.difference("DSC").estimate
    assert difference.value == pytest.approx((0.1 + 0 + 0.2 + 0 + 0.1 - 0.3) / 6)
    assert difference.cases == compared.test.pairs == 6


def test_cases_are_matched_by_name_and_not_by_place(sources):
    cases = sources[0].cases("lesion")
    names = cases.names[::-2]
    assert cases.of(names).names == names
    assert (cases.of(names).counts["true_positive_lesions"] == cases.counts["true_positive_lesions"][::-2]).all()


def test_cases_of_a_patient_are_drawn_and_exchanged_together(sources):
    models = [source.cases("lesion") for source in sources]
    names = models[0].names
    by_case, by_patient = (
        compare_models((0, 1), models, names=names, groups=groups, pooled=POOLED)
        for groups in (names, ["a", "b", "c"] * 4)
    )
    assert by_case.difference("DSC").estimate.has_interval
    # Of three patients there are too few draws for an interval.
    assert not any(difference.estimate.has_interval for difference in by_patient.differences)
    assert by_patient.least_p == pytest.approx(2 / 2**3)


def test_p_values_are_adjusted_for_all_pairs_each_metric_apart(sources):
    models = [source.cases("lesion") for source in sources]
    compared = compare_models((0, 1), models, names=models[0].names, groups=models[0].names, pooled=POOLED)
    same = compare_models((0, 0), models, names=models[0].names, groups=models[0].names, pooled=POOLED)
    first, *others = adjust([compared, same, same])
    for before, after in zip(compared.differences, first.differences, strict=True):
        assert after.adjusted == pytest.approx(min(1, 3 * before.p))
    assert [other.difference("DSC").adjusted for other in others] == [1, 1]
    assert first.adjusted_test == pytest.approx(compared.test.p)


@pytest.mark.parametrize(("cases", "pairs", "enough"), [(5, 1, False), (6, 1, True), (6, 2, False), (9, 12, True)])
def test_pairs_that_no_result_could_tell_apart_are_known(sources, cases, pairs, enough):
    models = [source.cases("lesion") for source in sources]
    names = models[0].names[:cases]
    compared = compare_models((0, 1), models, names=names, groups=names, pooled=POOLED)
    assert [each.difference("lesion_recall").enough_cases for each in adjust([compared] * pairs)] == [enough] * pairs
