"""The outcome in plain words."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nnunetv2_mamba.report import wording
from nnunetv2_mamba.report.scores import Metric, Pair, Result, few_find_many

MOST_PAIRS = 3
"""More pairs than these are not named one by one."""

RECALL: Metric = ("lesion_recall", "pooled")
_LESION_DICE: Metric = ("lesion_dice", "pooled")

_PRICES: dict[Metric, str] = {
    ("fp_per_case", "pooled"): "more inventions per case",
    _LESION_DICE: "a lower Dice per lesion",
    ("DSC", "mean"): "a lower mean Dice",
}


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
        warnings: sentences on what the numbers do not mean.
    """

    model: int
    name: str
    found: int
    lesions: int
    share: float
    percent: str
    figures: list[tuple[str, str]]
    sentence: str
    warnings: list[str]


def headline(result: Result, protocol: Mapping[str, Any], trained_on_cases: bool = False) -> Headline:
    """The outcome of one model.

    Args:
        result: what it did.
        protocol: by which it was counted, as the summary has it.
        trained_on_cases: whether the model has learned from these very cases.
    """
    found, lesions = int(result.total("found")), int(result.total("lesions"))
    cases = len(result.cases.names)
    invented = (result.total("components") - result.total("right")) / cases if cases else math.nan
    lesion_dice = result.scores.estimate("lesion_dice", "pooled")
    dice = result.scores.estimate("DSC", "mean")
    share = found / lesions if lesions else math.nan
    warnings = ["The model was trained on these very cases."] if trained_on_cases else []
    return Headline(
        model=result.place,
        name=result.name,
        found=found,
        lesions=lesions,
        share=share,
        percent=wording.percent(share),
        figures=[
            (wording.number(invented, 2), "invented per case"),
            (wording.number(lesion_dice.value, 2), "Dice per lesion"),
            (wording.number(dice.value, 2), "mean Dice"),
        ],
        sentence=_by_size(result) if protocol["strata"]["level"] == "lesion" else "",
        warnings=[*warnings, *_covers_several(result)],
    )


def _covers_several(result: Result) -> list[str]:
    """A warning where few components find many lesions."""
    found, lesions, right = (int(result.total(count)) for count in ("found", "lesions", "right"))
    if not few_find_many(right, found):
        return []
    finds = f"{wording.count(right, 'predicted component')} {'finds' if right == 1 else 'find'} {found:,} lesions"
    most = wording.percent(right / lesions)
    return [f"{finds}: one covers several. Counted one to one, at most {most} of the lesions would be found."]


def _by_size(result: Result) -> str:
    """How many lesions of each size were found; nothing where all are of one."""
    groups = [group for group in result.entry["strata"] if group["counts"]["lesions"]]
    if len(groups) < 2:
        return ""
    words = [f"{group['counts']['found']:,} of {group['counts']['lesions']:,} {group['name']} ones" for group in groups]
    return f"It found {wording.listing(words)}."


def comparison(pairs: Sequence[Pair], names: Sequence[str], unit: str) -> list[str]:
    """Whether the models differ in the lesions they find by more than chance: a few sentences; none for one model.

    Args:
        pairs: of models, with p values adjusted for their number.
        names: of the models.
        unit: what the test exchanges between models, ``case`` or ``patient``.
    """
    ahead: dict[int, list[str]] = {}
    equal = _Between("There is no difference in the number of lesions found")
    alike = _Between("Chance may explain the difference in lesions found")
    too_few = _Between(f"There are too few {unit}s to tell whether chance explains the difference in lesions found")
    better: list[str] = []
    for pair in pairs:
        difference = pair.differences[RECALL]
        if difference.is_more_than_chance:
            winner = pair.first if difference.estimate.value > 0 else pair.second
            ahead.setdefault(winner, []).append(_finds_more(pair, difference.adjusted, names))
        elif math.isfinite(difference.p):
            group = equal if difference.estimate.value == 0 else alike if difference.enough else too_few
            group.pairs.append(f"{names[pair.first]} and {names[pair.second]}")
            better += _fits_better(pair, names)
    sentences = []
    if ahead:
        winners = [
            f"{names[model]} finds more lesions than {', and than '.join(less)}" for model, less in ahead.items()
        ]
        sentences.append(f"By more than chance would explain, {'; '.join(winners)}.")
    sentences += [group.in_words(len(pairs)) for group in (equal, alike, too_few) if group.pairs]
    if 0 < len(better) <= MOST_PAIRS:
        sentences.append(f"But by more than chance {'; '.join(better)}.")
    return sentences


@dataclass
class _Between:
    """Pairs of models of which the same is to be said.

    Attributes:
        start: of the sentence.
        pairs: names of both.
    """

    start: str
    pairs: list[str] = field(default_factory=list)

    def in_words(self, number: int) -> str:
        """A sentence, which does not name many of the number of pairs one by one."""
        where = f"between {'; between '.join(self.pairs)}"
        if len(self.pairs) > MOST_PAIRS:
            where = f"in {'all' if len(self.pairs) == number else f'{len(self.pairs)} of the'} {number} pairs of models"
        return f"{self.start} {where}."


def _finds_more(pair: Pair, p: float, names: Sequence[str]) -> str:
    """The model that finds fewer lesions, with what the other pays for finding more."""
    turned = pair.differences[RECALL].estimate.value < 0
    price = []
    for metric, words in _PRICES.items():
        values = pair.differences[metric].values
        own, other = reversed(values) if turned else values
        if own > other if metric[0] == "fp_per_case" else own < other:
            price.append(f"{words} ({wording.number(own)} against {wording.number(other)})")
    worse = f", but has {wording.listing(price)}" if price else ""
    return f"{names[pair.first if turned else pair.second]} ({wording.p_value(p)}){worse}"


def _fits_better(pair: Pair, names: Sequence[str]) -> list[str]:
    """Which of two models that find about as many lesions has the higher Dice per lesion, unless that may be chance."""
    difference = pair.differences[_LESION_DICE]
    if not difference.is_more_than_chance:
        return []
    models = (pair.first, pair.second) if difference.estimate.value > 0 else (pair.second, pair.first)
    best, least = (names[model] for model in models)
    high, low = (wording.number(value) for value in sorted(difference.values, reverse=True))
    return [f"{best} has a higher Dice per lesion than {least} ({high} against {low})"]
