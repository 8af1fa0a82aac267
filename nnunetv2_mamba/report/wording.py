"""Numbers and rules in words."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from nnunetv2_mamba.report.statistics import Estimate

DASH = "\u2013"
MINUS = "\u2212"
_ARROWS = {"higher": "\u00a0↑", "lower": "\u00a0↓"}
CELLS = {
    "both_empty": "both empty",
    "reference_empty": "only reference empty",
    "prediction_empty": "only prediction empty",
    "neither_empty": "neither empty",
}
_NEIGHBOURS = {"faces": "a face", "edges": "a face or an edge", "corners": "a face, an edge or a corner"}
_MATCHING = {
    "any_overlap": "a lesion is found where a predicted component touches it",
    "iou": "a lesion is found where a component overlaps it with an IoU of at least {iou}",
    "one_to_one": "lesions and components are paired one to one (Hungarian method), with an IoU of at least {iou}",
}


def number(value: float | None, digits: int = 3) -> str:
    """A number of a table: three decimals below 10, else as many digits as say something."""
    if value is None or math.isnan(value):
        return DASH
    if math.isinf(value):
        return "∞" if value > 0 else MINUS + "∞"
    if 0.9995 <= abs(value) < 1:
        # What is not quite 1 must not look like it.
        return f"{math.copysign(math.floor(abs(value) * 1e5) / 1e5, value):.5f}"
    decimals = max(digits - max(math.floor(math.log10(abs(value))), 0), 0) if value else digits
    # Nothing is not less than nothing: 0 in place of -0.
    return f"{round(float(value), decimals) + 0.0:,.{decimals}f}"


def interval(estimate: Estimate) -> str:
    """The interval of a number; empty where there is none."""
    return f"{number(estimate.low)} to {number(estimate.high)}" if estimate.has_interval else ""


def with_arrow(label: str, direction: str | None) -> str:
    """A name with an arrow to where better values are, on the line of its last word."""
    return label + _ARROWS.get(direction or "", "")


def unit(text: str) -> str:
    """A unit of the summary as people write it."""
    return text.replace("^2", "²").replace("^3", "³")


def percent(value: float) -> str:
    """A share as whole percent; 99 where it is not quite all."""
    if math.isnan(value):
        return DASH
    return f"{min(max(round(100 * value), 1 if value > 0 else 0), 100 if value == 1 else 99)} %"


def count(value: float, one: str, many: str | None = None) -> str:
    """So many of something."""
    return f"{value:,g} {one if value == 1 else many or one + 's'}"


def measured(value: float, unit: str = "") -> str:
    """A size with four digits and its unit, which is one voxel where it is one."""
    size = f"{float(f'{value:.4g}'):,.10g}"
    return f"{size} {'voxel' if unit == 'voxels' and value == 1 else unit}".strip()


def extent(numbers: Sequence[int]) -> str:
    """The smallest and the largest of some numbers."""
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def memory(size: float | None) -> str:
    """Bytes as GiB or MiB."""
    if size is None:
        return DASH
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def parameters(value: float | None) -> str:
    """A number of parameters in millions."""
    return DASH if value is None else f"{value / 1e6:.2f} M" if value >= 1e4 else f"{value:,g}"


def seconds(value: float | None) -> str:
    """A duration with three digits."""
    return DASH if value is None else f"{value:.3g} s" if value < 100 else f"{value:,.0f} s"


def listing(words: Sequence[str]) -> str:
    """Words as one reads them: a, b and c."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def quoted(name: str) -> str:
    """A name that may hold commas or the word and, to be told from the sentence around it."""
    return f"“{name}”"


def p_value(p: float) -> str:
    """A p value with its sign."""
    return (
        DASH if math.isnan(p) else "p\u00a0<\u00a00.001" if p < 0.001 else f"p\u00a0=\u00a0{p:.{3 if p < 0.1 else 2}f}"
    )


def protocol_in_words(protocol: Mapping[str, Any], length: str, size: str) -> list[str]:
    """The rules of a protocol, one sentence each; those that change nothing are left out.

    Args:
        protocol: as the summary has it.
        length: unit of lengths.
        size: unit of the sizes of lesions.
    """
    strata = protocol["strata"]
    matching = _MATCHING[protocol["matching"]].format(iou=f"{protocol['iou_threshold']:g}")
    rules = [
        f"Voxels that share {_NEIGHBOURS[protocol['connectivity']]} belong to one lesion",
        matching[0].upper() + matching[1:],
    ]
    if protocol["dilation_mm"] or protocol["dilation_steps"]:
        steps = protocol["dilation_steps"]
        reach = count(steps, "voxel") if steps else f"{protocol['dilation_mm']:g} {length}"
        rules.append(f"Lesions are dilated by {reach} before they are counted and matched")
    if protocol["spare_duplicates"]:
        rules.append("A component that only lost its lesion to another one is ignored")
    for key, what in (("lesion", "Lesions"), ("component", "Predicted components")):
        if protocol[f"min_{key}_size"]:
            rules.append(f"{what} below {protocol[f'min_{key}_size']:g} {size} are ignored")
        if protocol[f"min_{key}_voxels"] > 1:
            rules.append(f"{what} of fewer than {protocol[f'min_{key}_voxels']} voxels are ignored")
    true = "predicted components that match" if protocol["precision_counts"] == "components" else "found lesions"
    rules.append(f"Precision counts {true}")
    rules.append(f"Surfaces agree within {protocol['surface_tolerance']:g} {length}")
    rules.append(_strata_in_words(strata, size))
    if protocol["missed_distance"] is not None:
        rules.append(f"What is missed or invented counts as an HD95 of {protocol['missed_distance']:g} {length}")
    for metric, cell, value in protocol["empty_values"]:
        rules.append(f"{metric} is {value:g} where {CELLS[cell]}")
    return rules


def _strata_in_words(strata: Mapping[str, Any], size: str) -> str:
    names, bounds = strata["names"], strata["bounds"]
    what = "Lesions" if strata["level"] == "lesion" else "Images, by the size of all their lesions,"
    if strata["by"] == "quantiles":
        ends = [0.0, *bounds, 1.0]
        shares = [f"{100 * (high - low):.0f} %" for low, high in pairwise(ends)]
        return f"{what} are grouped as {listing(names)}: {listing(shares)} of them"
    measure = "voxels" if strata["by"] == "voxels" else size
    ends = [*(f"up to {measured(bound, measure)}" for bound in bounds)]
    ends.append(f"above {measured(bounds[-1], measure)}" if bounds else "all")
    return f"{what} are grouped as " + listing([f"{name} ({end})" for name, end in zip(names, ends, strict=True)])
