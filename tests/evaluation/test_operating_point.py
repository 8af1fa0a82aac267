"""Thresholds and smallest components: against evaluations done again, and against every other choice."""

import itertools
import math

import numpy as np
import pytest

from nnunetv2_mamba.evaluation.case import MaskPair, compare_pair
from nnunetv2_mamba.evaluation.components import label_components
from nnunetv2_mamba.evaluation.froc import comparisons_by_threshold
from nnunetv2_mamba.evaluation.metrics import METRICS
from nnunetv2_mamba.evaluation.operating_point import (
    SHOWN,
    THRESHOLDS,
    Aim,
    Counts,
    Detections,
    OperatingPoint,
    OperatingPoints,
    decide,
    fit,
)
from nnunetv2_mamba.evaluation.presets import PRESETS
from nnunetv2_mamba.evaluation.targets import Target

PROTOCOL = PRESETS["default"]
LESION = Target("lesion", (1,))


def random_case(seed: int, shape: tuple[int, ...] = (24, 26)) -> tuple[np.ndarray, np.ndarray]:
    """Probability and reference with blobs of several sizes, some only in one of them."""
    rng = np.random.default_rng(seed)
    reference, probability = np.zeros(shape, bool), rng.random(shape) * 0.3
    for number in range(7):
        place = tuple(slice(start, start + rng.integers(1, 6)) for start in rng.integers(0, np.array(shape) - 5))
        if number % 3:
            reference[place] = True
        if number % 2:
            probability[place] = rng.uniform(0.2, 1)
    return probability, reference


def detections_by_threshold(probability, reference, spacing, protocol):
    compared = comparisons_by_threshold(probability, reference, spacing, protocol, thresholds=THRESHOLDS)
    return list(map(Detections.of_comparison, compared))


def counts_at(tables, point: OperatingPoint) -> Counts:
    position = THRESHOLDS.index(point.threshold)
    return sum((found[position].counts(point.min_component_size) for found in tables), Counts())


def points(*, connectivity="corners", order=None, **of_targets: tuple[float, float]) -> OperatingPoints:
    return OperatingPoints({name: OperatingPoint(*values) for name, values in of_targets.items()}, connectivity, order)


def table(seed: int, spacing=(1.0, 2.0)):
    probability, reference = random_case(seed)
    return detections_by_threshold(probability, reference, spacing, PROTOCOL)


def without_small(mask: np.ndarray, smallest: float, voxel: float) -> np.ndarray:
    components, number = label_components(mask)
    sizes = np.bincount(components.ravel(), minlength=number + 1) * voxel
    return mask & (sizes[components] >= smallest)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("smallest", [0.0, 2.0, 5.0, 12.0])
def test_counts_are_those_of_an_evaluation_without_the_small_components(seed, smallest):
    probability, reference = random_case(seed)
    for position, threshold in list(enumerate(THRESHOLDS))[::4]:
        mask = without_small(probability >= threshold, smallest, voxel=2.0)
        expected = compare_pair(MaskPair(reference, mask, spacing=(1.0, 2.0)), PROTOCOL, distances=False)
        counts = table(seed)[position].counts(smallest)
        for name, count in vars(counts).items():
            assert count == expected.counts[name], name
        assert table(seed)[position].without_small(smallest).counts(0) == counts
        for name in SHOWN:
            assert counts.metric(name, PROTOCOL) == pytest.approx(
                float(METRICS[name].formula(expected.counts, PROTOCOL)), nan_ok=True
            )


@pytest.mark.parametrize("aim", ["f1", "recall@0", "recall@0.5", "recall@2"])
def test_no_other_choice_meets_the_aim_better(aim):
    tables, aim = [table(seed) for seed in range(6)], Aim.of_text(aim)
    point = fit(tables, aim, PROTOCOL)
    best = aim.score(counts_at(tables, point), PROTOCOL)
    sizes = [0, *np.unique(np.concatenate([found.false_positives for found in itertools.chain(*tables)]) + 1e-6)]
    for threshold, smallest in itertools.product(THRESHOLDS, sizes):
        score = aim.score(counts_at(tables, OperatingPoint(threshold, float(smallest))), PROTOCOL)
        assert math.isnan(score) or score <= best + 1e-12
    if aim.false_positives is not None:
        assert counts_at(tables, point).metric("fp_per_case", PROTOCOL) <= aim.false_positives


def test_of_equal_choices_nnunets_own_is_taken():
    reference = np.zeros((9, 9), bool)
    reference[2:4, 2:4] = True
    perfect = detections_by_threshold(reference.astype(float), reference, (1.0, 1.0), PROTOCOL)
    assert fit([perfect], Aim(), PROTOCOL) == OperatingPoint(0.5, 0)
    nothing = detections_by_threshold(np.zeros((9, 9)), np.zeros((9, 9), bool), (1.0, 1.0), PROTOCOL)
    assert fit([nothing], Aim(), PROTOCOL) == OperatingPoint(0.5, 0)


def test_a_threshold_and_a_size_that_separate_lesions_from_noise_are_found():
    reference, probability = np.zeros((12, 30), bool), np.full((12, 30), 0.01)
    reference[2:5, 2:5], probability[2:5, 2:5] = True, 0.32  # a faint lesion
    reference[6:9, 10:14], probability[6:9, 10:14] = True, 0.9
    probability[1, 20] = probability[4, 24] = 0.95  # specks
    tables = [detections_by_threshold(probability, reference, (1.0, 1.0), PROTOCOL)]
    point = fit(tables, Aim(), PROTOCOL)
    assert counts_at(tables, point) == Counts(1, 2, 2, 2, 2)
    assert point.threshold == 0.3
    # Just above the specks of a pixel, so that no larger lesion is lost.
    assert 1 < point.min_component_size < 1.01
    nnunets = Counts(1, 2, true_positive_lesions=1, components=3, true_positive_components=1)
    assert counts_at(tables, OperatingPoint()) == nnunets


@pytest.mark.parametrize("text", ["f1", "recall@1", "recall@0.5"])
def test_an_aim_is_read_as_it_is_written(text):
    assert str(Aim.of_text(text)) == text


@pytest.mark.parametrize("text", ["", "dice", "f1@2", "recall", "recall@", "recall@-1", "recall@nan", "recall@inf"])
def test_other_aims_are_refused(text):
    with pytest.raises(ValueError, match=rf"the aim '{text}' is not known: give f1, or recall@N with N false"):
        Aim.of_text(text)


@pytest.mark.parametrize("values", [(0, 0), (1.1, 0), (math.nan, 0), (0.5, -1), (0.5, math.inf), (0.5, math.nan)])
def test_points_outside_their_ranges_are_refused(values):
    with pytest.raises(ValueError, match="of an operating point is"):
        OperatingPoint(*values)


def test_at_nnunets_point_a_label_map_is_nnunets():
    rng = np.random.default_rng(0)
    probability = rng.random((8, 9))
    labels = decide({"lesion": probability}, [LESION], points(lesion=(0.5, 0)), spacing=(1.0, 1.0))
    assert np.array_equal(labels, probability >= 0.5)


def test_small_components_are_left_out_by_their_size_in_millimetres():
    probability = np.zeros((6, 8))
    probability[1, 1] = probability[3:5, 4:6] = 0.9
    for smallest, kept in ((0.5, 5), (0.6, 4), (2.0, 4), (2.1, 0)):
        operating = points(lesion=(0.5, smallest))
        assert decide({"lesion": probability}, [LESION], operating, spacing=(1.0, 0.5)).sum() == kept


def test_a_component_is_one_by_the_rule_that_the_point_was_fitted_with():
    probability = np.zeros((6, 6))
    probability[1:3, 1:3] = probability[3:5, 3:5] = 0.9
    for connectivity, kept in (("corners", 8), ("faces", 0)):
        operating = points(lesion=(0.5, 5), connectivity=connectivity)
        assert decide({"lesion": probability}, [LESION], operating, spacing=(1.0, 1.0)).sum() == kept


def test_a_size_may_be_rounded():
    probability = np.zeros((5, 5, 5))
    probability[1:3, 1:3, 1:4] = 0.9
    exact = 12 * 0.7 * 0.7 * 3
    rounded = tuple(float(np.float32(width)) for width in (3, 0.7, 0.7))
    assert decide({"lesion": probability}, [LESION], points(lesion=(0.5, exact)), spacing=rounded).sum() == 12


def test_points_are_read_as_they_are_written():
    operating = points(a=(0.3, 2.0), b=(0.5, 0.0), connectivity="faces", order=[1, 2])
    assert OperatingPoints.from_dict(operating.as_dict()) == operating


def test_a_voxel_of_two_classes_has_the_one_above_its_threshold_by_the_larger_factor():
    targets = [Target("a", (1,)), Target("b", (2,))]
    probabilities = {"a": np.array([[0.4, 0.4, 0.1]]), "b": np.array([[0.5, 0.3, 0.2]])}
    operating = points(a=(0.2, 0), b=(0.4, 0))
    assert decide(probabilities, targets, operating, spacing=(1.0, 1.0)).tolist() == [[1, 1, 0]]


def test_regions_are_painted_over_each_other():
    targets = [Target("whole", (1, 2)), Target("core", (2,))]
    probabilities = {"whole": np.array([[0.9, 0.9, 0.1]]), "core": np.array([[0.1, 0.35, 0.1]])}
    labels = decide(probabilities, targets, points(whole=(0.5, 0), core=(0.3, 0), order=[1, 2]), spacing=(1.0, 1.0))
    assert labels.tolist() == [[1, 2, 0]]
