"""Which cases a report shows in pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnunetv2_mamba.report.source import Cases

LESIONS = ("found", "missed")
WRONG = ("missed", "invented")


@dataclass(frozen=True)
class Choice:
    """A case to show.

    Attributes:
        case: its name.
        reasons: why, in the words of the report.
        models: places of the models to show it of.
        kinds: of the parts that the slice of a volume is to show most of.
    """

    case: str
    reasons: tuple[str, ...]
    models: tuple[int, ...]
    kinds: tuple[str, ...]


def choose(models: Sequence[Cases], common: Sequence[str]) -> list[Choice]:
    """The best, the median and the worst case with lesions by Dice, and the one with most invented lesions.

    Several models are shown on the same cases, chosen by the mean of their Dice, and one more is that in which they
    differ most. Without a common case, each model has its own choice.

    Args:
        models: what was counted and measured in the cases of each model.
        common: names of the cases that all have.
    """
    if common:
        return _choose([cases.of(common) for cases in models], tuple(range(len(models))))
    return [choice for place, cases in enumerate(models) for choice in _choose([cases], (place,))]


def _choose(models: Sequence[Cases], places: tuple[int, ...]) -> list[Choice]:
    names = models[0].names
    dice = np.stack([cases.metric("DSC") for cases in models])
    with_lesions = np.flatnonzero((models[0].counts["lesions"] > 0) & np.isfinite(dice).all(axis=0))
    order = with_lesions[np.argsort(dice.mean(axis=0)[with_lesions], kind="stable")]
    by_mean = " by the mean of the models" if len(models) > 1 else ""
    chosen: dict[int, tuple[list[str], list[str]]] = {}

    def show(case: int, reason: str, *kinds: str) -> None:
        reasons, parts = chosen.setdefault(case, ([], []))
        reasons.append(reason)
        parts.extend(kinds)

    if len(order):
        for place, word, kinds in (
            (-1, "best", LESIONS),
            ((len(order) - 1) // 2, "median", LESIONS),
            (0, "worst", WRONG),
        ):
            show(int(order[place]), f"{word} Dice{by_mean}", *kinds)
    gaps = np.ptp(dice, axis=0)[order]
    if len(models) > 1 and len(order) and gaps.max() > 0:
        show(int(order[np.argmax(gaps)]), "the models differ most in Dice", *WRONG)
    invented = sum((cases.counts["components"] - cases.counts["right"] for cases in models), np.zeros(len(names)))
    if len(names) and invented.max() > 0:
        show(int(np.argmax(invented)), "most invented lesions", "invented")
    return [
        Choice(names[case], tuple(reasons), places, tuple(dict.fromkeys(kinds)))
        for case, (reasons, kinds) in chosen.items()
    ]
