"""Every metric of an evaluation.

Metrics are functions of counts that add up over cases. One formula therefore serves a case, all cases together and
every bootstrap sample of cases. Distances between surfaces do not add up; they are measured case by case.
"""

from typing import Any

import numpy as np

from nnunetv2_mamba.evaluation.metric import COUNTS, Counts, EmptyValue, Metric, Place, false_positives, ratio
from nnunetv2_mamba.evaluation.protocol import Protocol

__all__ = ["COUNTS", "METRICS", "Counts", "Metric", "pooled", "ratio", "shown_in"]


def _recall(c: Counts, _: Protocol) -> Any:
    return ratio(c["true_positive_lesions"], c["lesions"])


def _precision(c: Counts, protocol: Protocol) -> Any:
    if protocol.precision_counts == "components":
        return ratio(c["true_positive_components"], c["components"])
    return ratio(c["true_positive_lesions"], c["true_positive_lesions"] + false_positives(c))


def _f1(c: Counts, protocol: Protocol) -> Any:
    recall, precision = np.nan_to_num(_recall(c, protocol)), np.nan_to_num(_precision(c, protocol))
    product = np.where(recall + precision > 0, ratio(2 * recall * precision, recall + precision), 0.0)
    return np.where(c["lesions"] + c["components"] > 0, product, np.nan)


def _lesionwise_hd95(c: Counts, protocol: Protocol) -> Any:
    if protocol.missed_distance is None:
        return c["lesions"] * np.nan
    wrong = c["lesions"] - c["true_positive_lesions"] + false_positives(c)
    return ratio(c["lesion_hd95"] + protocol.missed_distance * wrong, c["lesions"] + false_positives(c))


def _empty(*, both: EmptyValue, reference: EmptyValue, prediction: EmptyValue) -> dict[str, EmptyValue]:
    return {"both_empty": both, "reference_empty": reference, "prediction_empty": prediction}


_NONE = _empty(both=None, reference=None, prediction=None)
_COMPUTED = _empty(both="computed", reference="computed", prediction="computed")
_ZERO = _empty(both=None, reference=0.0, prediction=0.0)
_ZERO_IF_PREDICTION_EMPTY = _empty(both=None, reference=None, prediction=0.0)
_MISSED_DISTANCE = _empty(both=None, reference="missed_distance", prediction="missed_distance")

_VOXELS = (
    Metric(
        name="mIoU",
        label="IoU",
        scope="voxels",
        direction="higher",
        formula=lambda c, _: ratio(c["TP"], c["TP"] + c["FP"] + c["FN"]),
        definition="TP / (TP + FP + FN)",
        empty=_ZERO,
    ),
    Metric(
        name="DSC",
        label="Dice",
        scope="voxels",
        direction="higher",
        formula=lambda c, _: ratio(2 * c["TP"], 2 * c["TP"] + c["FP"] + c["FN"]),
        definition="2 TP / (2 TP + FP + FN)",
        empty=_ZERO,
        over="mean",
        shown_in=("card", "overview", "comparison"),
    ),
    Metric(
        name="ACC",
        label="accuracy",
        scope="voxels",
        direction="higher",
        formula=lambda c, _: ratio(c["TP"] + c["TN"], c["TP"] + c["FP"] + c["FN"] + c["TN"]),
        definition="(TP + TN) / (TP + FP + FN + TN)",
        empty=_COMPUTED,
    ),
    Metric(
        name="SPE",
        label="specificity",
        scope="voxels",
        direction="higher",
        formula=lambda c, _: ratio(c["TN"], c["TN"] + c["FP"]),
        definition="TN / (TN + FP)",
        empty=_COMPUTED,
    ),
    Metric(
        name="SEN",
        label="sensitivity",
        scope="voxels",
        direction="higher",
        formula=lambda c, _: ratio(c["TP"], c["TP"] + c["FN"]),
        definition="TP / (TP + FN)",
        empty=_ZERO_IF_PREDICTION_EMPTY,
    ),
)

_SURFACE = (
    Metric(
        name="HD95",
        label="95 % Hausdorff distance",
        scope="surface",
        direction="lower",
        unit="{length}",
        formula=None,
        definition="the larger of the two distances within which 95 % of a surface lie",
        empty=_MISSED_DISTANCE,
        over="mean",
        shown_in=("overview",),
        measures_surface=True,
    ),
    Metric(
        name="NSD",
        label="normalised surface Dice",
        scope="surface",
        direction="higher",
        formula=None,
        definition="share of both surfaces that is no farther than the tolerance from the other",
        empty=_ZERO,
        over="mean",
        shown_in=("overview",),
        measures_surface=True,
    ),
)

_SIZES = (
    Metric(
        name="reference_volume",
        label="size of the reference",
        scope="voxels",
        direction=None,
        unit="{size}",
        formula=lambda c, _: ratio(c["reference_volume"], c["cases"]),
        definition="voxels of the reference x size of a voxel, mean over cases",
        empty=_COMPUTED,
    ),
    Metric(
        name="predicted_volume",
        label="size of the prediction",
        scope="voxels",
        direction=None,
        unit="{size}",
        formula=lambda c, _: ratio(c["predicted_volume"], c["cases"]),
        definition="voxels of the prediction x size of a voxel, mean over cases",
        empty=_COMPUTED,
    ),
    Metric(
        name="volume_difference",
        label="predicted minus true size",
        scope="voxels",
        direction=None,
        unit="{size}",
        formula=lambda c, _: ratio(c["predicted_volume"] - c["reference_volume"], c["cases"]),
        definition="predicted_volume - reference_volume; mean over cases is the bias",
        empty=_COMPUTED,
    ),
    Metric(
        name="volume_error",
        label="error of the size",
        scope="voxels",
        direction="lower",
        unit="{size}",
        formula=lambda c, _: ratio(c["volume_error"], c["cases"]),
        definition="|predicted_volume - reference_volume|, mean over cases",
        empty=_COMPUTED,
    ),
)

_LESIONS = (
    Metric(
        name="lesion_recall",
        label="lesion recall",
        scope="lesions",
        direction="higher",
        formula=_recall,
        definition="true positive lesions / lesions",
        empty=_ZERO_IF_PREDICTION_EMPTY,
        shown_in=("overview", "comparison", "sensitivity"),
    ),
    Metric(
        name="lesion_precision",
        label="lesion precision",
        scope="lesions",
        direction="higher",
        formula=_precision,
        definition="true positive components / components (or TP lesions / (TP lesions + FP components), "
        "as the protocol says)",
        empty=_empty(both=None, reference=0.0, prediction=None),
        shown_in=("overview", "sensitivity"),
    ),
    Metric(
        name="lesion_f1",
        label="lesion F1",
        scope="lesions",
        direction="higher",
        formula=_f1,
        definition="2 recall precision / (recall + precision)",
        empty=_ZERO,
        shown_in=("overview", "comparison", "sensitivity"),
    ),
    Metric(
        name="fp_per_case",
        label="false positives per case",
        scope="lesions",
        direction="lower",
        unit="per case",
        formula=lambda c, _: ratio(false_positives(c), c["cases"]),
        definition="false positive components / cases",
        empty=_COMPUTED,
        shown_in=("card", "overview", "comparison"),
    ),
    Metric(
        name="fp_volume_per_case",
        label="false positive size per case",
        scope="lesions",
        direction="lower",
        unit="{size} per case",
        formula=lambda c, _: ratio(c["false_positive_volume"], c["cases"]),
        definition="size of false positive components / cases",
        empty=_COMPUTED,
    ),
    Metric(
        name="missed_volume_per_case",
        label="missed size per case",
        scope="lesions",
        direction="lower",
        unit="{size} per case",
        formula=lambda c, _: ratio(c["missed_volume"], c["cases"]),
        definition="size of missed lesions / cases",
        empty=_COMPUTED,
    ),
    Metric(
        name="lesion_count_error",
        label="error of the number of lesions",
        scope="lesions",
        direction="lower",
        unit="per case",
        formula=lambda c, _: ratio(c["lesion_count_error"], c["cases"]),
        definition="|components - lesions|, mean over cases",
        empty=_COMPUTED,
        # A lesion of one size and a component of another cannot be set off against each other.
        by_size=False,
    ),
    Metric(
        name="lesion_dice",
        label="Dice per lesion",
        scope="lesions",
        direction="higher",
        formula=lambda c, _: ratio(c["lesion_dice"], c["lesions"]),
        definition="mean Dice of lesions with the components they match, 0 for missed ones",
        empty=_ZERO_IF_PREDICTION_EMPTY,
        shown_in=("card", "overview", "comparison"),
    ),
    Metric(
        name="true_positive_dice",
        label="Dice per true positive lesion",
        scope="lesions",
        direction="higher",
        formula=lambda c, _: ratio(c["lesion_dice"], c["true_positive_lesions"]),
        definition="mean Dice of true positive lesions with the components they match",
        empty=_NONE,
    ),
    Metric(
        name="lesionwise_dice",
        label="lesion-wise Dice",
        scope="lesions",
        direction="higher",
        formula=lambda c, _: ratio(c["lesion_dice"], c["lesions"] + false_positives(c)),
        definition="sum of the Dice of lesions / (lesions + false positive components)",
        empty=_ZERO,
    ),
    Metric(
        name="lesionwise_hd95",
        label="lesion-wise HD95",
        scope="lesions",
        direction="lower",
        unit="{length}",
        formula=_lesionwise_hd95,
        definition="(HD95 of true positive lesions + missed_distance for each missed lesion and false positive "
        "component) / (lesions + false positive components)",
        empty=_MISSED_DISTANCE,
        measures_surface=True,
    ),
)

METRICS = {metric.name: metric for metric in (*_VOXELS, *_SURFACE, *_SIZES, *_LESIONS)}


def shown_in(place: Place) -> list[Metric]:
    """The metrics that a place shows, lesion-wise ones first."""
    metrics = [metric for metric in METRICS.values() if place in metric.shown_in]
    return sorted(metrics, key=lambda metric: metric.scope != "lesions")


def pooled(counts: Counts, protocol: Protocol | None = None) -> dict[str, Any]:
    """Every metric that has a formula.

    Args:
        counts: of a case, or sums over cases; numbers, or arrays of one shape.
        protocol: the rules of the counts; the default protocol unless given.

    Returns:
        Values in the shape of the counts, by name; NaN where a metric is not defined.
    """
    protocol = protocol or Protocol()
    return {name: metric.formula(counts, protocol) for name, metric in METRICS.items() if metric.formula}
