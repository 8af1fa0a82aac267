"""What a metric is: its formula over counts, its value in empty cases, and where it is shown."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from nnunetv2_mamba.evaluation.images import Unit, size_unit
from nnunetv2_mamba.evaluation.protocol import Emptiness, Protocol

Counts = Mapping[str, Any]
"""Numbers, or arrays of one shape, by name; see `COUNTS`."""

COUNTS = {
    "cases": "cases",
    "TP": "voxels in the reference and in the prediction",
    "FP": "voxels in the prediction only",
    "FN": "voxels in the reference only",
    "TN": "voxels in neither",
    "lesions": "lesions of the reference that are not ignored",
    "true_positive_lesions": "of these, the lesions that match a component",
    "components": "components of the prediction that are not ignored",
    "true_positive_components": "of these, the components that match a lesion",
    "reference_volume": "size of the reference",
    "predicted_volume": "size of the prediction",
    "missed_volume": "size of the missed lesions",
    "false_positive_volume": "size of the false positive components",
    "volume_error": "absolute difference between the two sizes",
    "lesion_count_error": "absolute difference between the numbers of lesions and components",
    "lesion_dice": "sum of the Dice of lesions, 0 for a missed one",
    "lesion_hd95": "sum of the HD95 of true positive lesions, where the protocol scores it",
}
"""What is counted in a case. All counts add up over cases."""

Scope = Literal["voxels", "surface", "lesions"]
Over = Literal["pooled", "mean"]
"""From the counts of all cases together, or the mean over the cases that have a value."""

Place = Literal["card", "overview", "comparison", "sensitivity"]
"""A place that shows only some metrics: a model's card, the table of models, the comparison of two models, and the
table of other protocols."""

EmptyValue = float | Literal["computed", "missed_distance"] | None
"""Value in an empty case: a number, None for not defined, ``computed`` where the formula applies as always, and
``missed_distance`` for that field of the protocol."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A number that an evaluation gives.

    Attributes:
        name: key in files.
        label: name that a reader sees.
        scope: what the metric looks at. It decides which emptiness counts.
        direction: which values are better; None for metrics that only describe.
        unit: ``{length}`` and ``{size}`` stand for mm and mm^3, or for the unit of images without mm.
        formula: the value from counts and the protocol; None where the metric does not add up over cases.
        definition: the formula as text.
        empty: value in a case whose reference, prediction or both are empty.
        over: how the value is computed over cases where only one value is shown.
        shown_in: places that show the metric. A table of all metrics shows every metric.
        by_size: whether the metric exists for groups of lesions by size.
        measures_surface: whether the metric needs distances between surfaces.
    """

    name: str
    label: str
    scope: Scope
    direction: Literal["higher", "lower"] | None
    unit: str = ""
    formula: Callable[[Counts, Protocol], Any] | None
    definition: str
    empty: Mapping[str, EmptyValue]
    over: Over = "pooled"
    shown_in: tuple[Place, ...] = ()
    by_size: bool = True
    measures_surface: bool = False

    def empty_under(self, protocol: Protocol) -> dict[str, float | Literal["computed"] | None]:
        """Value of the metric in empty cases under a protocol, by emptiness."""
        values = {
            emptiness: protocol.missed_distance if value == "missed_distance" else value
            for emptiness, value in self.empty.items()
        }
        return values | {emptiness: value for name, emptiness, value in protocol.empty_values if name == self.name}

    def in_case(self, computed: float, emptiness: Emptiness, protocol: Protocol) -> float:
        """Value of the metric in one case.

        Args:
            computed: value by the formula, or the measured distance.
            emptiness: of the case, for the scope of the metric.
            protocol: the rules.
        """
        value = self.empty_under(protocol).get(emptiness, "computed")
        if value == "computed":
            return computed
        return np.nan if value is None else float(value)

    def as_dict(self, unit: Unit, dimensions: int, protocol: Protocol) -> dict[str, Any]:
        """Description for files, with the unit of the images and the protocol's values for empty cases."""
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


def false_positives(counts: Counts) -> Any:
    """Number of components that match no lesion and are not ignored."""
    return counts["components"] - counts["true_positive_components"]
