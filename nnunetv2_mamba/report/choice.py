"""Which cases a report shows as pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnunetv2_mamba.evaluation.metric import false_positives
from nnunetv2_mamba.report.reported_model import Cases


@dataclass(frozen=True)
class Choice:
    """A case to show.

    Attributes:
        case: its name.
        reasons: why it is shown, in words.
        models: indices of the models that are shown.
    """

    case: str
    reasons: tuple[str, ...]
    models: tuple[int, ...]


def choose(models: Sequence[Cases], common: Sequence[str]) -> list[Choice]:
    """The cases with the best, the median and the worst Dice, and the case with most false positives.

    Several models are shown on the same cases, chosen by the mean of their Dice, with one more case: the one in which
    they differ most. Models without a common case have a choice of their own.

    Args:
        models: counts and metrics of the cases of each model.
        common: names of the cases that all models have.
    """
    if common:
        return _choose([cases.of(common) for cases in models], tuple(range(len(models))))
    return [choice for place, cases in enumerate(models) for choice in _choose([cases], (place,))]


def _choose(models: Sequence[Cases], places: tuple[int, ...]) -> list[Choice]:
    names, several = models[0].names, len(models) > 1
    dice = np.stack([cases.metric("DSC") for cases in models])
    with_lesions = np.flatnonzero((models[0].counts["lesions"] > 0) & np.isfinite(dice).all(axis=0))
    order = with_lesions[np.argsort(dice.mean(axis=0)[with_lesions], kind="stable")]
    chosen: list[tuple[int, str]] = []
    if len(order):
        ranks = (("best", -1), ("median", (len(order) - 1) // 2), ("worst", 0))
        chosen += [(order[rank], f"{word} {'mean ' if several else ''}Dice") for word, rank in ranks]
        gaps = np.ptp(dice, axis=0)[order]
        if gaps.max() > 0:
            chosen.append((order[np.argmax(gaps)], "the models differ most in Dice"))
    wrong = sum((false_positives(cases.counts) for cases in models), np.zeros(len(names)))
    if len(names) and wrong.max() > 0:
        chosen.append((int(np.argmax(wrong)), "most false positives"))
    reasons: dict[int, list[str]] = {}
    for case, reason in chosen:
        reasons.setdefault(int(case), []).append(reason)
    return [Choice(names[case], tuple(words), places) for case, words in reasons.items()]
