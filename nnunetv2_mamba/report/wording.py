"""Numbers in words."""

import math
from collections.abc import Sequence

from nnunetv2_mamba.report.statistics import Estimate

DASH = "\u2013"
MINUS = "\u2212"
_ARROWS = {"higher": "\u00a0↑", "lower": "\u00a0↓"}
EMPTINESS = {
    "both_empty": "both empty",
    "reference_empty": "only reference empty",
    "prediction_empty": "only prediction empty",
    "neither_empty": "neither empty",
}


def number(value: float | None, digits: int = 3) -> str:
    """A number of a table: three decimals below 10, fewer above."""
    if value is None or math.isnan(value):
        return DASH
    if math.isinf(value):
        return "∞" if value > 0 else MINUS + "∞"
    if 0.9995 <= abs(value) < 1:
        # A value below 1 must not be rounded to 1.
        return f"{math.copysign(math.floor(abs(value) * 1e5) / 1e5, value):.5f}"
    decimals = max(digits - max(math.floor(math.log10(abs(value))), 0), 0) if value else digits
    # Adding 0.0 turns -0 into 0.
    return f"{round(float(value), decimals) + 0.0:,.{decimals}f}"


def interval(estimate: Estimate) -> str:
    """The interval of a number; empty where there is none."""
    return f"{number(estimate.low)} to {number(estimate.high)}" if estimate.has_interval else ""


def with_arrow(label: str, direction: str | None) -> str:
    """A label with an arrow in the direction of better values."""
    return label + _ARROWS.get(direction or "", "")


def unit(text: str) -> str:
    """A unit of the summary with superscripts."""
    return text.replace("^2", "²").replace("^3", "³")


def percent(value: float) -> str:
    """A share as whole percent; only 0 is 0 % and only 1 is 100 %."""
    if math.isnan(value):
        return DASH
    return f"{min(max(round(100 * value), 1 if value > 0 else 0), 100 if value == 1 else 99)} %"


def count(value: float, one: str, many: str | None = None) -> str:
    """A number and its noun."""
    return f"{value:,g} {one if value == 1 else many or one + 's'}"


def measured(value: float, unit: str = "") -> str:
    """A size with four digits and its unit."""
    size = f"{float(f'{value:.4g}'):,.10g}"
    return f"{size} {'voxel' if unit == 'voxels' and value == 1 else unit}".strip()


def extent(numbers: Sequence[int]) -> str:
    """The range of some numbers."""
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
    """An enumeration: a, b and c."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def p_value(p: float) -> str:
    """A p value, such as p = 0.03."""
    return (
        DASH if math.isnan(p) else "p\u00a0<\u00a00.001" if p < 0.001 else f"p\u00a0=\u00a0{p:.{3 if p < 0.1 else 2}f}"
    )
