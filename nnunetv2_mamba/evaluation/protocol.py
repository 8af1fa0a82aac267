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
"""When a lesion and a predicted component belong together, see `matching`."""

Cell = Literal["both_empty", "reference_empty", "prediction_empty", "neither_empty"]
"""Whether a target is in the reference of a case, in its prediction, in both or in none."""

RULES_VERSION = 1
"""Raised when equal fields begin to mean other rules."""

StrataBy = Literal["quantiles", "size", "voxels"]


@dataclass(frozen=True)
class Strata:
    """Groups by size.

    Attributes:
        names: of the groups, from small to large; one more than `bounds`.
        by: what the bounds are: fractions of the reference lesions (or images); or sizes in mm^3 (mm^2 in images,
            pixels where there are no mm); or numbers of voxels.
        bounds: largest size that is still in the group, for every group but the last.
        level: what is grouped: each lesion by its size, or each image by the size of all its lesions together.
    """

    names: tuple[str, ...] = ("small", "medium", "large")
    by: StrataBy = "quantiles"
    bounds: tuple[float, ...] = (1 / 3, 2 / 3)
    level: Literal["lesion", "image"] = "lesion"

    def __post_init__(self) -> None:
        """Refuse bounds that make no groups.

        Raises:
            ValueError: the bounds do not rise, are no fractions, or are not one less than the names.
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
    """Everything that the result of a lesion-wise evaluation depends on, besides the segmentations.

    Attributes:
        name: for people; not part of the hash.
        connectivity: which voxels of a mask make one lesion, or one predicted component.
        matching: when a lesion is found, see `matching.match`.
        iou_threshold: least intersection over union of a pair that matches; with ``any_overlap`` it stays 0.
        dilation_mm: reference lesions whose balls of this radius touch are one lesion, and a component that touches
            such a ball touches the lesion; 0 for none. Sizes, Dice and distances are those of the lesions as drawn.
        dilation_steps: the same by so many steps to neighbours at faces and edges, in voxels, as in BraTS.
        spare_duplicates: whether a component that could match, but whose lesion took another one, is ignored instead of
            invented; for ``one_to_one``.
        min_lesion_size: smaller reference lesions (mm^3) are ignored: neither found nor missed; so is a component that
            matches nothing else.
        min_lesion_voxels: the same in voxels.
        min_component_size: smaller predicted components (mm^3) are ignored, as if they had not been predicted.
        min_component_voxels: the same in voxels.
        precision_counts: what precision counts as true: predicted components that match, or lesions that are found.
        strata: groups by size.
        surface_tolerance: distance in mm up to which surfaces agree, for the normalised surface Dice.
        missed_distance: HD95 in mm that a missed lesion, an invented component or an empty mask counts as; None where
            they have none.
        empty_values: values of metrics in cases of an empty cell, as (metric, cell, value), where a challenge sets
            them; for lesion-wise metrics the cell is that of the lesions and components that are not ignored.
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
    empty_values: tuple[tuple[str, Cell, float], ...] = ()

    def __post_init__(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            ValueError: a field has a value that it cannot have, or not together with another.
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
            raise ValueError(f"iou_threshold={self.iou_threshold} has no meaning for any_overlap: take matching='iou'.")
        if self.dilation_mm and self.dilation_steps:
            raise ValueError("dilation_mm and dilation_steps are two ways to say one thing: set one of them.")
        for entry in dataclasses.fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, (int, float)) and value < 0:
                raise ValueError(f"{entry.name}={value} is negative: give 0 or more.")

    def _normalise(self) -> None:
        """Give every field its type, so that equal rules are written alike and have one hash.

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
            raise ValueError(f"strata={self.strata!r} is no mapping with fields of Strata.")
        try:
            values = tuple((str(metric), cell, float(value)) for metric, cell, value in self.empty_values)
        except (TypeError, ValueError) as error:
            raise ValueError(f"empty_values={self.empty_values!r} is no list of metric, cell and number.") from error
        if unknown := [cell for _, cell, _ in values if cell not in get_args(Cell)]:
            raise ValueError(f"empty_values has the cell {unknown[0]!r}, which is none of {', '.join(get_args(Cell))}.")
        if not all(math.isfinite(value) for _, _, value in values):
            raise ValueError(f"empty_values={self.empty_values!r} has a value that is no number.")
        _set(self, "empty_values", tuple(sorted(values)))

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits that are equal for equal rules, whatever their name."""
        default = Protocol()
        # Only what differs: a rule that a later version adds leaves the hashes of others alone.
        rules = _difference(self.as_dict(), default.as_dict()) | {"rules": RULES_VERSION}
        rules.pop("name", None)
        return hashlib.sha256(json.dumps(rules, sort_keys=True).encode()).hexdigest()[:12]

    def as_dict(self) -> dict[str, Any]:
        """The fields, as JSON has them."""
        # Through JSON, so that tuples are lists as they will be when read.
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Protocol":
        """A protocol from what `as_dict` gives; fields that are not there keep their defaults.

        Raises:
            ValueError: a field does not exist, or has a value that it cannot have.
        """
        _require_known("a protocol has", cls, fields)
        values = dict(fields)
        if isinstance(strata := values.get("strata"), Mapping):
            _require_known("strata have", Strata, strata)
            values["strata"] = Strata(**strata)
        return cls(**values)

    def but(self, **fields: Any) -> "Protocol":
        """The same protocol with other values of some fields."""
        return dataclasses.replace(self, **fields)


def _require_known(what: str, cls: type, fields: Mapping[str, Any]) -> None:
    known = [entry.name for entry in dataclasses.fields(cls)]
    if unknown := sorted(fields.keys() - set(known)):
        raise ValueError(f"{what} no {', '.join(unknown)}, only {', '.join(known)}.")


def _number(name: str, value: Any, kind: type[int] | type[float]) -> int | float:
    number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    if not math.isfinite(number) or kind(number) != number:
        raise ValueError(f"{name}={value!r} is no {'whole ' if kind is int else ''}number.")
    # Without the sign of -0.0, which would change the hash.
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
