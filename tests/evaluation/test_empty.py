"""Every metric in every kind of empty case, by hand."""

import math

import numpy as np
import pytest

from nnunetv2_mamba.evaluation.metrics import METRICS
from nnunetv2_mamba.evaluation.presets import PRESETS
from nnunetv2_mamba.evaluation.protocol import Protocol
from tests.evaluation.drawings import compared

NONE = math.nan
# A quarter of four pixels of 2 mm x 3 mm.
DRAWINGS = {
    "both_empty": "..\n..",
    "reference_empty": "p.\n..",
    "prediction_empty": "r.\n..",
    "neither_empty": "#.\n..",
}
# Metric: value where both, only the reference, only the prediction is empty; and where neither is, and all is right.
BY_HAND = {
    "mIoU": (NONE, 0, 0, 1),
    "DSC": (NONE, 0, 0, 1),
    "ACC": (1, 3 / 4, 3 / 4, 1),
    "SPE": (1, 3 / 4, 1, 1),
    "SEN": (NONE, NONE, 0, 1),
    "HD95": (NONE, NONE, NONE, 0),
    "NSD": (NONE, 0, 0, 1),
    "reference_volume": (0, 0, 6, 6),
    "predicted_volume": (0, 6, 0, 6),
    "volume_difference": (0, 6, -6, 0),
    "volume_error": (0, 6, 6, 0),
    "lesion_recall": (NONE, NONE, 0, 1),
    "lesion_precision": (NONE, 0, NONE, 1),
    "lesion_f1": (NONE, 0, 0, 1),
    "fp_per_case": (0, 1, 0, 0),
    "fp_volume_per_case": (0, 6, 0, 0),
    "missed_volume_per_case": (0, 0, 6, 0),
    "lesion_count_error": (0, 1, 1, 0),
    "lesion_dice": (NONE, NONE, 0, 1),
    "true_positive_dice": (NONE, NONE, NONE, 1),
    "lesionwise_dice": (NONE, 0, 0, 1),
    "lesionwise_hd95": (NONE, NONE, NONE, NONE),
}
# The same under protocols that put a number in the place of what is missing.
WITH_MISSED_DISTANCE = BY_HAND | {"HD95": (NONE, 50, 50, 0), "lesionwise_hd95": (NONE, 50, 50, 0)}
OF_BRATS = BY_HAND | {
    "DSC": (1, 0, 0, 1),
    "SEN": (1, 0, 0, 1),
    "HD95": (0, 374, 374, 0),
    "lesionwise_dice": (1, 0, 0, 1),
    "lesionwise_hd95": (0, 374, 374, 0),
}
PROTOCOLS = {
    "default": (Protocol(), BY_HAND),
    "precision of lesions": (Protocol(precision_counts="lesions"), BY_HAND),
    "missed distance": (Protocol(missed_distance=50), WITH_MISSED_DISTANCE),
    # Without its least size, which would ignore the one pixel.
    "brats": (PRESETS["brats-gli"].but(min_lesion_voxels=1), OF_BRATS),
    "isles22": (PRESETS["isles22"], BY_HAND | {"DSC": (1, 0, 0, 1), "lesion_f1": (1, 0, 0, 1)}),
}


def rules_of(protocol: Protocol) -> dict:
    return {name: getattr(protocol, name) for name in protocol.__dataclass_fields__}


@pytest.mark.parametrize("position", range(4), ids=list(DRAWINGS))
@pytest.mark.parametrize(("protocol", "by_hand"), PROTOCOLS.values(), ids=list(PROTOCOLS))
def test_every_metric_in_every_empty_case(protocol, by_hand, position):
    emptiness = list(DRAWINGS)[position]
    comparison = compared(DRAWINGS[emptiness], spacing=(2.0, 3.0), **rules_of(protocol))
    assert comparison.emptiness == emptiness
    assert comparison.metrics == pytest.approx({name: row[position] for name, row in by_hand.items()}, nan_ok=True)


@pytest.mark.parametrize("metric", METRICS.values(), ids=list(METRICS))
def test_every_metric_says_what_it_is(metric):
    described = metric.as_dict("mm", 3, Protocol())
    assert all(described[key] for key in ("label", "definition"))
    assert described["direction"] in ("higher", "lower", None)
    assert described["scope"] in ("voxels", "surface", "lesions")


def test_units_are_those_of_the_images():
    units = {
        (unit, dimensions): [
            METRICS[name].as_dict(unit, dimensions, Protocol())["unit"]
            for name in ("DSC", "HD95", "reference_volume", "fp_volume_per_case", "fp_per_case")
        ]
        for unit, dimensions in (("mm", 3), ("mm", 2), ("px", 2))
    }
    assert units == {
        ("mm", 3): ["", "mm", "mm^3", "mm^3 per case", "per case"],
        ("mm", 2): ["", "mm", "mm^2", "mm^2 per case", "per case"],
        ("px", 2): ["", "px", "px", "px per case", "per case"],
    }


def test_the_emptiness_of_lesion_wise_metrics_is_that_of_parts_that_are_not_ignored():
    # One lesion, ignored for its size, and the component that finds it.
    comparison = compared("#..", min_lesion_voxels=2, empty_values=(("lesion_f1", "both_empty", 0.25),))
    assert comparison.emptiness == "neither_empty"
    assert comparison.metrics["lesion_f1"] == 0.25
    assert comparison.metrics["DSC"] == 1.0


def test_the_emptiness_of_voxel_wise_metrics_is_that_of_the_masks():
    values = (("DSC", "both_empty", 0.25), ("DSC", "neither_empty", 0.5), ("NSD", "neither_empty", 0.75))
    comparison = compared("#..", min_lesion_voxels=2, empty_values=values)
    assert (comparison.metrics["DSC"], comparison.metrics["NSD"]) == (0.5, 0.75)


def test_an_unknown_metric_is_named():
    with pytest.raises(ValueError, match="empty_values names the metric 'DICE', which is none of mIoU, DSC"):
        compared("#", empty_values=(("DICE", "both_empty", 1.0),))


def test_formulas_work_on_arrays_of_counts():
    counts = [compared(drawing, spacing=(2.0, 3.0)).counts for drawing in DRAWINGS.values()]
    columns = {name: np.array([case[name] for case in counts], dtype=float) for name in counts[0]}
    for protocol in (Protocol(), Protocol(precision_counts="lesions", missed_distance=50)):
        for name, metric in METRICS.items():
            if metric.formula:
                one_by_one = [float(metric.formula(case, protocol)) for case in counts]
                assert metric.formula(columns, protocol).tolist() == pytest.approx(one_by_one, nan_ok=True), name
