"""Every number of an evaluation: its formula, direction, unit and what it is when there is nothing to measure.

Metrics are functions of counts that add up over cases, so that one formula serves a case, all cases together and every
bootstrap sample of cases. Only the distances between surfaces do not add up; they are measured case by case.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from nnunetv2_mamba.evaluation.images import Unit, size_unit
from nnunetv2_mamba.evaluation.protocol import Protocol

Counts = Mapping[str, Any]
"""Numbers, or arrays of one shape, by name; see `COUNTS`."""

COUNTS = {
    "cases": "cases",
    "TP": "voxels in the reference and in the prediction",
    "FP": "voxels in the prediction only",
    "FN": "voxels in the reference only",
    "TN": "voxels in neither",
    "lesions": "lesions of the reference that are not ignored",
    "found": "of these, the ones that match a component",
    "components": "components of the prediction that are not ignored",
    "right": "of these, the ones that match a lesion",
    "reference_volume": "size of the reference",
    "predicted_volume": "size of the prediction",
    "missed_volume": "size of the lesions that are not found",
    "invented_volume": "size of the components that are not right",
    "volume_error": "difference between the two sizes, without its sign",
    "lesion_count_error": "difference between the numbers of lesions and components, without its sign",
    "lesion_dice": "sum of the Dice of lesions, 0 for a missed one",
    "lesion_hd95": "sum of the HD95 of found lesions, where the protocol scores it",
}
"""What is counted in a case; all of it adds up over cases."""

Scope = Literal["voxels", "surface", "lesions"]


@dataclass(frozen=True)
class Metric:
    """A number that an evaluation gives.

    Attributes:
        name: key in files.
        label: what a reader sees.
        scope: what it looks at; decides which empty cell counts.
        direction: which values are better; None for those that only describe.
        unit: ``{length}`` and ``{size}`` stand for mm and mm^3 or what the images have instead.
        formula: the value from counts and the protocol; None where it does not add up.
        definition: the formula, to read.
        empty: value in a case whose reference, prediction or both are empty: a number, None for not defined, or
            ``computed`` where the formula holds as ever.
    """

    name: str
    label: str
    scope: Scope
    direction: Literal["higher", "lower"] | None
    unit: str
    formula: Callable[[Counts, Protocol], Any] | None
    definition: str
    empty: Mapping[str, float | Literal["computed"] | None]

    def empty_under(self, protocol: Protocol) -> dict[str, Any]:
        """What the metric is in empty cells, where the protocol may say otherwise."""
        values = dict(self.empty)
        if self.name == "HD95":
            values |= dict.fromkeys(("reference_empty", "prediction_empty"), protocol.missed_distance)
        if self.name == "lesionwise_hd95" and protocol.missed_distance is None:
            values = dict.fromkeys(values)
        return values | {cell: value for name, cell, value in protocol.empty_values if name == self.name}

    def as_dict(self, unit: Unit, dimensions: int, protocol: Protocol) -> dict[str, Any]:
        """What goes into files, with the unit of the images and the protocol's values for empty cells."""
        size = size_unit(unit, dimensions)
        return {
            "label": self.label,
            "scope": self.scope,
            "direction": self.direction,
            "unit": self.unit.format(length=unit, size=size),
            "definition": self.definition,
            "empty": self.empty_under(protocol),
        }


def ratio(numerator: Any, denominator: Any) -> Any:
    """Quotient of numbers or arrays, NaN where the denominator is 0."""
    numerator, denominator = np.asarray(numerator, dtype=float), np.asarray(denominator, dtype=float)
    empty = denominator == 0
    return np.where(empty, np.nan, numerator / np.where(empty, 1.0, denominator))


def _recall(c: Counts, _: Protocol) -> Any:
    return ratio(c["found"], c["lesions"])


def _precision(c: Counts, protocol: Protocol) -> Any:
    if protocol.precision_counts == "components":
        return ratio(c["right"], c["components"])
    return ratio(c["found"], c["found"] + _invented(c))


def _f1(c: Counts, protocol: Protocol) -> Any:
    recall, precision = np.nan_to_num(_recall(c, protocol)), np.nan_to_num(_precision(c, protocol))
    product = np.where(recall + precision > 0, ratio(2 * recall * precision, recall + precision), 0.0)
    return np.where(c["lesions"] + c["components"] > 0, product, np.nan)


def _invented(c: Counts) -> Any:
    return c["components"] - c["right"]


def _lesionwise_hd95(c: Counts, protocol: Protocol) -> Any:
    if protocol.missed_distance is None:
        return c["lesions"] * np.nan
    wrong = c["lesions"] - c["found"] + _invented(c)
    return ratio(c["lesion_hd95"] + protocol.missed_distance * wrong, c["lesions"] + _invented(c))


def _cells(both: Any, reference: Any, prediction: Any) -> dict[str, Any]:
    return {"both_empty": both, "reference_empty": reference, "prediction_empty": prediction}


_NONE, _COMPUTED = _cells(None, None, None), _cells("computed", "computed", "computed")
_ZERO = _cells(None, 0.0, 0.0)

METRICS = {
    metric.name: metric
    for metric in (
        Metric(
            "mIoU",
            "IoU",
            "voxels",
            "higher",
            "",
            lambda c, _: ratio(c["TP"], c["TP"] + c["FP"] + c["FN"]),
            "TP / (TP + FP + FN)",
            _ZERO,
        ),
        Metric(
            "DSC",
            "Dice",
            "voxels",
            "higher",
            "",
            lambda c, _: ratio(2 * c["TP"], 2 * c["TP"] + c["FP"] + c["FN"]),
            "2 TP / (2 TP + FP + FN)",
            _ZERO,
        ),
        Metric(
            "ACC",
            "accuracy",
            "voxels",
            "higher",
            "",
            lambda c, _: ratio(c["TP"] + c["TN"], c["TP"] + c["FP"] + c["FN"] + c["TN"]),
            "(TP + TN) / (TP + FP + FN + TN)",
            _COMPUTED,
        ),
        Metric(
            "SPE",
            "specificity",
            "voxels",
            "higher",
            "",
            lambda c, _: ratio(c["TN"], c["TN"] + c["FP"]),
            "TN / (TN + FP)",
            _COMPUTED,
        ),
        Metric(
            "SEN",
            "sensitivity",
            "voxels",
            "higher",
            "",
            lambda c, _: ratio(c["TP"], c["TP"] + c["FN"]),
            "TP / (TP + FN)",
            _cells(None, None, 0.0),
        ),
        Metric(
            "HD95",
            "95 % Hausdorff distance",
            "surface",
            "lower",
            "{length}",
            None,
            "the larger of the two distances within which 95 % of a surface lie",
            _NONE,
        ),
        Metric(
            "NSD",
            "normalised surface Dice",
            "surface",
            "higher",
            "",
            None,
            "share of both surfaces that is no farther than the tolerance from the other",
            _ZERO,
        ),
        Metric(
            "reference_volume",
            "size of the reference",
            "voxels",
            None,
            "{size}",
            lambda c, _: ratio(c["reference_volume"], c["cases"]),
            "voxels of the reference x size of a voxel, mean over cases",
            _COMPUTED,
        ),
        Metric(
            "predicted_volume",
            "size of the prediction",
            "voxels",
            None,
            "{size}",
            lambda c, _: ratio(c["predicted_volume"], c["cases"]),
            "voxels of the prediction x size of a voxel, mean over cases",
            _COMPUTED,
        ),
        Metric(
            "volume_difference",
            "predicted minus true size",
            "voxels",
            None,
            "{size}",
            lambda c, _: ratio(c["predicted_volume"] - c["reference_volume"], c["cases"]),
            "predicted_volume - reference_volume; mean over cases is the bias",
            _COMPUTED,
        ),
        Metric(
            "volume_error",
            "error of the size",
            "voxels",
            "lower",
            "{size}",
            lambda c, _: ratio(c["volume_error"], c["cases"]),
            "|predicted_volume - reference_volume|, mean over cases",
            _COMPUTED,
        ),
        Metric(
            "lesion_recall",
            "lesion recall",
            "lesions",
            "higher",
            "",
            _recall,
            "found / lesions",
            _cells(None, None, 0.0),
        ),
        Metric(
            "lesion_precision",
            "lesion precision",
            "lesions",
            "higher",
            "",
            _precision,
            "right / components (or found / (found + invented), as the protocol says)",
            _cells(None, 0.0, None),
        ),
        Metric(
            "lesion_f1",
            "lesion F1",
            "lesions",
            "higher",
            "",
            _f1,
            "2 recall precision / (recall + precision)",
            _ZERO,
        ),
        Metric(
            "fp_per_case",
            "invented per case",
            "lesions",
            "lower",
            "per case",
            lambda c, _: ratio(_invented(c), c["cases"]),
            "invented components / cases",
            _COMPUTED,
        ),
        Metric(
            "fp_volume_per_case",
            "invented size per case",
            "lesions",
            "lower",
            "{size} per case",
            lambda c, _: ratio(c["invented_volume"], c["cases"]),
            "size of invented components / cases",
            _COMPUTED,
        ),
        Metric(
            "missed_volume_per_case",
            "missed size per case",
            "lesions",
            "lower",
            "{size} per case",
            lambda c, _: ratio(c["missed_volume"], c["cases"]),
            "size of missed lesions / cases",
            _COMPUTED,
        ),
        Metric(
            "lesion_count_error",
            "error of the number of lesions",
            "lesions",
            "lower",
            "per case",
            lambda c, _: ratio(c["lesion_count_error"], c["cases"]),
            "|components - lesions|, mean over cases",
            _COMPUTED,
        ),
        Metric(
            "lesion_dice",
            "Dice per lesion",
            "lesions",
            "higher",
            "",
            lambda c, _: ratio(c["lesion_dice"], c["lesions"]),
            "mean Dice of lesions with the components they match, 0 for missed ones",
            _cells(None, None, 0.0),
        ),
        Metric(
            "found_dice",
            "Dice per found lesion",
            "lesions",
            "higher",
            "",
            lambda c, _: ratio(c["lesion_dice"], c["found"]),
            "mean Dice of found lesions with the components they match",
            _NONE,
        ),
        Metric(
            "lesionwise_dice",
            "lesion-wise Dice",
            "lesions",
            "higher",
            "",
            lambda c, _: ratio(c["lesion_dice"], c["lesions"] + _invented(c)),
            "sum of the Dice of lesions / (lesions + invented components)",
            _ZERO,
        ),
        Metric(
            "lesionwise_hd95",
            "lesion-wise HD95",
            "lesions",
            "lower",
            "{length}",
            _lesionwise_hd95,
            "(HD95 of found lesions + the protocol's distance for each missed or invented one) / (lesions + invented)",
            _cells(None, "computed", "computed"),
        ),
    )
}


def pooled(counts: Counts, protocol: Protocol | None = None) -> dict[str, Any]:
    """Every metric that has a formula.

    Args:
        counts: of a case, or sums over cases; numbers, or arrays of one shape.
        protocol: what they were counted by; the default one unless given.

    Returns:
        Values in the shape of the counts, by name; NaN where a metric is not defined.
    """
    protocol = protocol or Protocol()
    return {name: metric.formula(counts, protocol) for name, metric in METRICS.items() if metric.formula}
