"""What panoptica defines too comes out the same, on two hundred random cases; run by ``make parity``.

It needs older libraries than nnU-Net, so that it has an environment of its own, which has neither PyTorch nor nnU-Net.
"""

import importlib.util
import sys

import numpy as np
import pytest

from nnunetv2_mamba.evaluation.case import Comparison, compare
from nnunetv2_mamba.evaluation.presets import PRESETS
from nnunetv2_mamba.evaluation.protocol import Protocol, Strata
from nnunetv2_mamba.evaluation.strata import lesion_strata
from tests.evaluation.random_cases import random_pair, random_spacing

panoptica = pytest.importorskip("panoptica")

# panoptica names no connectivity: SciPy joins faces, cc3d joins corners.
BACKENDS = {"faces": "scipy", "corners": "cc3d"}
CASES = pytest.mark.parametrize(
    ("shape", "connectivity", "number"),
    [((15, 17), "faces", 60), ((15, 17), "corners", 60), ((9, 12, 12), "corners", 80)],
    ids=["2-D faces", "2-D corners", "3-D corners"],
)


@pytest.fixture(autouse=True)
def _no_reminder():
    panoptica.utils.citation_reminder.disable_citation_reminder()


def evaluator(connectivity: str, matcher) -> panoptica.Panoptica_Evaluator:
    metrics = panoptica.metrics.Metric
    return panoptica.Panoptica_Evaluator(
        expected_input=panoptica.InputType.SEMANTIC,
        instance_approximator=panoptica.ConnectedComponentsInstanceApproximator(
            cca_backend=panoptica.utils.constants.CCABackend[BACKENDS[connectivity]]
        ),
        instance_matcher=matcher,
        instance_metrics=[metrics.IOU, metrics.DSC, metrics.RVD],
        global_metrics=[metrics.DSC, metrics.IOU],
    )


def pairs(shape: tuple[int, ...], number: int) -> list[tuple]:
    rng = np.random.default_rng(0)
    return [(*random_pair(rng, shape), random_spacing(rng, len(shape))) for _ in range(number)]


def theirs(evaluating: panoptica.Panoptica_Evaluator, reference, prediction, spacing):
    as_labels = (mask.astype(np.uint8) for mask in (prediction, reference))
    return evaluating.evaluate(*as_labels, voxelspacing=spacing)["ungrouped"]


def of_matched(comparison: Comparison) -> dict[str, float]:
    """Means over the pairs of lesion and component."""
    components = {part.id: part for part in comparison.components}
    found = [(lesion, components[match]) for lesion in comparison.lesions for match in lesion.matched]
    mean_iou = np.mean([lesion.iou for lesion, _ in found])
    return {
        "sq": mean_iou,
        "sq_dsc": comparison.metrics["true_positive_dice"],
        "sq_rvd": np.mean([(component.size - lesion.size) / lesion.size for lesion, component in found]),
        "pq": mean_iou * comparison.metrics["lesion_f1"],
        "pq_dsc": comparison.metrics["true_positive_dice"] * comparison.metrics["lesion_f1"],
    }


def test_this_environment_proves_that_neither_torch_nor_nnunet_is_needed():
    assert importlib.util.find_spec("torch") is None
    assert importlib.util.find_spec("nnunetv2") is None
    assert "nnunetv2_mamba.evaluation.case" in sys.modules


@CASES
def test_everything_at_an_iou_of_one_half(shape, connectivity, number):
    """Its naive matching at 0.5 takes the best pairs first; no pair above one half has a rival."""
    evaluating = evaluator(connectivity, panoptica.NaiveThresholdMatching(matching_threshold=0.5))
    matched = 0
    for reference, prediction, spacing in pairs(shape, number):
        result = theirs(evaluating, reference, prediction, spacing)
        comparison = compare(reference, prediction, spacing, PRESETS["iou50"].but(connectivity=connectivity))
        counts, metrics = comparison.counts, comparison.metrics
        assert (result.n_ref_instances, result.n_pred_instances) == (counts["lesions"], counts["components"])
        assert result.tp == counts["true_positive_lesions"] == counts["true_positive_components"]
        assert result.fp == counts["components"] - counts["true_positive_components"]
        assert result.fn == counts["lesions"] - counts["true_positive_lesions"]
        assert result.rq == pytest.approx(metrics["lesion_f1"], nan_ok=True)
        assert result.global_bin_dsc == pytest.approx(metrics["DSC"], nan_ok=True)
        assert result.global_bin_iou == pytest.approx(metrics["mIoU"], nan_ok=True)
        if counts["components"]:
            assert result.prec == pytest.approx(metrics["lesion_precision"])
        if counts["lesions"]:
            assert result.rec == pytest.approx(metrics["lesion_recall"])
        if counts["true_positive_lesions"]:
            matched += 1
            expected = of_matched(comparison)
            assert {name: getattr(result, name) for name in expected} == pytest.approx(expected)
    assert matched > number / 3


@CASES
def test_recall_by_size(shape, connectivity, number):
    evaluating = evaluator(connectivity, panoptica.NaiveThresholdMatching(matching_threshold=0.5))
    bounds = (2.6, 9.1)
    protocol = PRESETS["iou50"].but(connectivity=connectivity, strata=Strata(by="size", bounds=bounds))
    for reference, prediction, spacing in pairs(shape, number):
        comparison = compare(reference, prediction, spacing, protocol)
        if comparison.counts["lesions"]:
            result = theirs(evaluating, reference, prediction, spacing).recall_by_volume(list(bounds))
            ours = [entry["metrics"]["lesion_recall"] for entry in lesion_strata(comparison.parts, 1, protocol)]
            assert list(result.values()) == pytest.approx(ours, nan_ok=True)


@CASES
@pytest.mark.parametrize("threshold", [0.1, 0.5])
def test_one_to_one(shape, connectivity, number, threshold):
    """Its bipartite matching takes the largest sum of IoU, ours as many pairs as possible and then the largest sum."""
    evaluating = evaluator(connectivity, panoptica.MaxBipartiteMatching(matching_threshold=threshold))
    protocol = Protocol(connectivity=connectivity, matching="one_to_one", iou_threshold=threshold)
    as_many = 0
    for reference, prediction, spacing in pairs(shape, number):
        result = theirs(evaluating, reference, prediction, spacing)
        comparison = compare(reference, prediction, spacing, protocol)
        found = comparison.counts["true_positive_lesions"]
        assert found == result.tp if threshold == 0.5 else found >= result.tp
        if found == result.tp > 0:
            as_many += 1
            assert result.sq == pytest.approx(of_matched(comparison)["sq"])
    assert as_many > number / 3
