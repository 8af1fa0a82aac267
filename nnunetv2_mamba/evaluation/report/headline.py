"""The outcome in plain words."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nnunetv2_mamba.evaluation.report import wording
from nnunetv2_mamba.evaluation.report.scores import Pair, Result


@dataclass(frozen=True)
class Headline:
    """What a model did on one target.

    Attributes:
        model: its place.
        name: its name.
        found: how many lesions it found.
        lesions: of how many.
        share: of the lesions that it found, from 0 to 1; NaN where there are none.
        percent: the same in words.
        figures: a few more numbers, each with what it is.
        sentence: how many it found of each size.
    """

    model: int
    name: str
    found: int
    lesions: int
    share: float
    percent: str
    figures: list[tuple[str, str]]
    sentence: str


def headline(result: Result, strata_of: str) -> Headline:
    """The outcome of one model.

    Args:
        result: what it did.
        strata_of: what the protocol groups by size, ``lesion`` or ``image``.
    """
    found, lesions = int(result.total("found")), int(result.total("lesions"))
    cases = len(result.cases.names)
    invented = (result.total("components") - result.total("right")) / cases if cases else math.nan
    dice = result.scores.estimate("DSC", "mean")
    share = found / lesions if lesions else math.nan
    return Headline(
        model=result.place,
        name=result.name,
        found=found,
        lesions=lesions,
        share=share,
        percent=wording.percent(share),
        figures=[
            (wording.number(invented, 2), "invented per case"),
            (wording.number(dice.value, 2), "mean Dice"),
        ],
        sentence=_by_size(result) if strata_of == "lesion" else "",
    )


def _by_size(result: Result) -> str:
    """How many lesions of each size were found; nothing where all are of one."""
    groups = [group for group in result.entry["strata"] if group["counts"]["lesions"]]
    if len(groups) < 2:
        return ""
    words = [f"{group['counts']['found']:,} of {group['counts']['lesions']:,} {group['name']} ones" for group in groups]
    return f"It found {wording.listing(words)}."


def comparison(pairs: Sequence[Pair], names: Sequence[str]) -> list[str]:
    """Whether the models differ in the lesions they find by more than chance: a sentence or two; none for one model."""
    behind: dict[int, list[str]] = {}
    alike = []
    for pair in pairs:
        difference = pair.differences["lesion_recall", "pooled"]
        if difference.excludes_zero:
            ahead, other = (pair.first, pair.second) if difference.value > 0 else (pair.second, pair.first)
            behind.setdefault(ahead, []).append(names[other])
        elif difference.has_interval:
            alike.append(f"{names[pair.first]} and {names[pair.second]}")
    sentences = []
    if behind:
        winners = [
            f"{names[ahead]} finds more lesions than {wording.listing(others)}" for ahead, others in behind.items()
        ]
        sentences.append(f"By more than chance would explain, {'; '.join(winners)}.")
    if alike:
        sentences.append(f"Chance may explain the difference in lesions found between {'; between '.join(alike)}.")
    return sentences
