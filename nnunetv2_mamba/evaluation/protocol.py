"""The rules of an evaluation, in one object that every output carries with its hash."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, Literal, get_args

Connectivity = Literal["faces", "edges", "corners"]
"""Neighbours of a voxel: 6, 18, 26 in a volume; 4, 8, 8 in an image."""

Matching = Literal["any_overlap", "iou", "one_to_one"]
"""When a lesion and a predicted component match, see `matching.matches`."""

Emptiness = Literal["both_empty", "reference_empty", "prediction_empty", "neither_empty"]
"""Which masks of a target are empty in a case."""

RULES_VERSION = 1
"""Increased when the meaning of a field changes, so that equal hashes still mean equal rules."""

StrataBy = Literal["quantiles", "size", "voxels"]

EARLIER_METRICS = {"found_dice": "true_positive_dice"}
"""Names that earlier versions gave to metrics."""


@dataclass(frozen=True)
class Strata:
    """Groups by size.

    Attributes:
        names: of the groups, from small to large; one more than `bounds`.
        by: kind of the bounds: ``quantiles`` of the reference lesions (or images), ``size`` in mm^3 (mm^2 in images,
            pixels where there are no mm), or ``voxels``.
        bounds: largest size of every group but the last; it belongs to the group.
        level: what is grouped: each ``lesion`` by its size, or each ``image`` by the size of all its lesions.
    """

    names: tuple[str, ...] = ("small", "medium", "large")
    by: StrataBy = "quantiles"
    bounds: tuple[float, ...] = (1 / 3, 2 / 3)
    level: Literal["lesion", "image"] = "lesion"

    def __post_init__(self) -> None:
        """Check the bounds.

        Raises:
            ValueError: the bounds do not rise, are not fractions, or are not one fewer than the names.
        """
        if isinstance(self.names, str):
            raise ValueError(f"the names of strata are a list, not {self.names!r}.")
        _set(self, "names", tuple(self.names))
        _set(self, "bounds", tuple(_number("a bound of strata", bound, float) for bound in self.bounds))
        if self.by not in get_args(StrataBy) or self.level not in ("lesion", "image"):
            raise ValueError(f"strata by {self.by!r} of {self.level!r} do not exist: see Strata.")
        if len(self.names) != len(self.bounds) + 1 or list(self.bounds) != sorted(set(self.bounds)):
            raise ValueError(f"{len(self.names)} strata need {len(self.names) - 1} rising bounds, not {self.bounds}.")
        if self.by == "quantiles" and not all(0 < bound < 1 for bound in self.bounds):
            raise ValueError(f"quantiles are between 0 and 1, not {self.bounds}: give fractions of the lesions.")


@dataclass(frozen=True)
class Protocol:
    """The rules of a lesion-wise evaluation. Together with the segmentations they determine the result.

    Attributes:
        name: for people; not part of the hash.
        connectivity: which voxels of a mask form one lesion, or one predicted component.
        matching: when a lesion and a component match, see `matching.matches`.
        iou_threshold: smallest intersection over union of a matching pair; 0 with ``any_overlap``.
        dilation_mm: radius in mm by which reference lesions are dilated; 0 for none. Lesions whose dilations touch are
            one lesion, and a component that touches the dilation touches the lesion. Sizes, Dice and distances are
            those of the lesions as drawn.
        dilation_steps: the same in steps of one voxel to neighbours at faces and edges, as in BraTS.
        spare_duplicates: for ``one_to_one``: whether a component is ignored instead of a false positive if it could
            match a lesion that is matched to another component.
        min_lesion_size: smaller reference lesions (mm^3) are ignored: neither true positive nor missed. A component
            that matches only ignored lesions is ignored too.
        min_lesion_voxels: the same in voxels.
        min_component_size: smaller predicted components (mm^3) are ignored, as if they had not been predicted.
        min_component_voxels: the same in voxels.
        precision_counts: what precision counts as true positives: ``components`` or ``lesions``.
        strata: groups by size.
        surface_tolerance: distance in mm up to which surfaces agree, for the normalised surface Dice.
        missed_distance: HD95 in mm of a missed lesion, a false positive component or an empty mask; None where it is
            not defined.
        empty_values: values of metrics in empty cases, as (metric, emptiness, value), where a challenge sets them. For
            lesion-wise metrics the emptiness is that of the lesions and components that are not ignored.
    """

    name: str = "default"
    connectivity: Connectivity = "corners"
    matching: Matching = "any_overlap"
    iou_threshold: float = 0.0
    dilation_mm: float = 0.0
    dilation_steps: int = 0
    spare_duplicates: bool = False
    min_lesion_size: float = 0.0
    min_lesion_voxels: int = 1
    min_component_size: float = 0.0
    min_component_voxels: int = 1
    precision_counts: Literal["components", "lesions"] = "components"
    strata: Strata = field(default_factory=Strata)
    surface_tolerance: float = 1.0
    missed_distance: float | None = None
    empty_values: tuple[tuple[str, Emptiness, float], ...] = ()

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            ValueError: a field has a value that is not possible, alone or together with another.
        """
        self._normalise()
        choices = {"connectivity": Connectivity, "matching": Matching}
        for name, allowed in choices.items():
            if getattr(self, name) not in get_args(allowed):
                raise ValueError(f"{name}={getattr(self, name)!r} is not one of {', '.join(get_args(allowed))}.")
        if self.precision_counts not in ("components", "lesions"):
            raise ValueError(f"precision_counts={self.precision_counts!r} is neither 'components' nor 'lesions'.")
        if not 0 <= self.iou_threshold <= 1:
            raise ValueError(f"iou_threshold={self.iou_threshold} is not between 0 and 1.")
        if self.matching == "any_overlap" and self.iou_threshold:
            raise ValueError(f"iou_threshold={self.iou_threshold} has no meaning for any_overlap: use matching='iou'.")
        if self.dilation_mm and self.dilation_steps:
            raise ValueError("dilation_mm and dilation_steps both set the dilation: set only one of them.")
        for entry in dataclasses.fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, (int, float)) and value < 0:
                raise ValueError(f"{entry.name}={value} is negative: give 0 or more.")

    def _normalise(self) -> None:
        """Convert every field to its type, so that equal rules have one spelling and one hash.

        Raises:
            ValueError: a field has a value of another type.
        """
        for entry in dataclasses.fields(self):
            value = getattr(self, entry.name)
            if entry.type in (int, float) or (entry.type == float | None and value is not None):
                _set(self, entry.name, _number(entry.name, value, int if entry.type is int else float))
        if not isinstance(self.spare_duplicates, bool):
            raise ValueError(f"spare_duplicates={self.spare_duplicates!r} is neither true nor false.")
        if not isinstance(self.strata, Strata):
            raise ValueError(f"strata={self.strata!r} is not a mapping with fields of Strata.")
        try:
            values = tuple(
                (EARLIER_METRICS.get(metric, str(metric)), emptiness, float(value))
                for metric, emptiness, value in self.empty_values
            )
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"empty_values={self.empty_values!r} is not a list of metric, emptiness and number."
            ) from error
        if unknown := [emptiness for _, emptiness, _ in values if emptiness not in get_args(Emptiness)]:
            allowed = ", ".join(get_args(Emptiness))
            raise ValueError(f"empty_values has the emptiness {unknown[0]!r}, which is none of {allowed}.")
        if not all(math.isfinite(value) for _, _, value in values):
            raise ValueError(f"empty_values={self.empty_values!r} has a value that is not a number.")
        _set(self, "empty_values", tuple(sorted(values)))

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits, equal for equal rules whatever their name."""
        default = Protocol()
        # Only fields that differ from the default: a new field then leaves other hashes unchanged.
        rules = _difference(self.as_dict(), default.as_dict()) | {"rules": RULES_VERSION}
        rules.pop("name", None)
        return hashlib.sha256(json.dumps(rules, sort_keys=True).encode()).hexdigest()[:12]

    def as_dict(self) -> dict[str, Any]:
        """The fields as JSON values."""
        # Through JSON, so that tuples become lists, as they are when read from a file.
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Protocol":
        """Inverse of `as_dict`; missing fields keep their defaults.

        Raises:
            ValueError: a field does not exist, or its value is not possible.
        """
        _require_known("a protocol has", cls, fields)
        values = dict(fields)
        if isinstance(strata := values.get("strata"), Mapping):
            _require_known("strata have", Strata, strata)
            values["strata"] = Strata(**strata)
        return cls(**values)

    def but(self, **fields: Any) -> "Protocol":
        """A copy with other values of some fields."""
        return dataclasses.replace(self, **fields)


def _require_known(what: str, cls: type, fields: Mapping[str, Any]) -> None:
    known = [entry.name for entry in dataclasses.fields(cls)]
    if unknown := sorted(fields.keys() - set(known)):
        raise ValueError(f"{what} no {', '.join(unknown)}, only {', '.join(known)}.")


def _number(name: str, value: Any, kind: type[int] | type[float]) -> int | float:
    number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    if not math.isfinite(number) or kind(number) != number:
        raise ValueError(f"{name}={value!r} is not a {'whole ' if kind is int else ''}number.")
    # Adding 0.0 removes the sign of -0.0, which would change the hash.
    return kind(number + 0.0)


def _difference(fields: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """Entries that are not the same in both, mappings entry by entry."""
    return {
        key: _difference(value, others[key]) if isinstance(value, Mapping) else value
        for key, value in fields.items()
        if value != others[key]
    }


def _set(frozen: Any, name: str, value: Any) -> None:
    object.__setattr__(frozen, name, value)
