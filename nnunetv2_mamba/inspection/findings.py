"""Warnings before training: sentences with a remedy."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nnunetv2_mamba.evaluation.text import counted

NOTABLE_SHARE = 0.05
"""If at least this share of the lesions of a target is tiny, there is a warning."""

FEW_CASES = 10
"""If fewer cases have a target, its scores depend on chance."""

HIDDEN_SHARE = 0.1
"""If the smaller half of the lesions has a smaller share of their volume, it hardly changes a Dice score."""


@dataclass(frozen=True)
class DatasetWarning:
    """A warning.

    Attributes:
        kind: its name, for programs.
        target: class or region that it is about; None if it is about the dataset.
        text: one or two sentences, with the remedy.
    """

    kind: str
    target: str | None
    text: str


def findings_of(
    summary: Mapping[str, Any], splits: Sequence[Mapping[str, Sequence[str]]], written: bool
) -> list[DatasetWarning]:
    """All warnings.

    Args:
        summary: made by `summary.summarize`.
        splits: folds as in nnU-Net's ``splits_final.json``, with names of cases in ``train`` and ``val``.
        written: whether they are from that file; otherwise nnU-Net is going to make them.
    """
    found = []
    for name, target in summary["targets"].items():
        if target["lesions"] == 0:
            text = f"no case has {name}: correct the labels, or remove it from dataset.json: no network can learn it."
            found.append(DatasetWarning("absent", name, text))
        else:
            found += _of_target(summary, name, target)
    return [*found, *_of_folds(summary, splits, written)]


def _of_target(summary: Mapping[str, Any], name: str, target: Mapping[str, Any]) -> Iterator[DatasetWarning]:
    if target["cases_with"] < FEW_CASES:
        text = (
            f"only {counted(target['cases_with'], 'case')} of {summary['cases']} {_verb(target['cases_with'], 'has')} "
            f"{name}: its scores will depend on chance, so judge it by all folds together."
        )
        yield DatasetWarning("few_cases", name, text)
    if target["resampled"]:
        yield from _of_resampling(summary, name, target)
    elif target["annotated_below_min_voxels"] >= NOTABLE_SHARE * target["lesions"]:
        text = (
            f"{_of(target['annotated_below_min_voxels'], target['lesions'])} of {name} have fewer than "
            f"{summary['min_voxels']} voxels: check that they are not annotation errors, and evaluate them as a "
            "separate stratum."
        )
        yield DatasetWarning("tiny", name, text)
    share = target["smaller_half_share"]
    if target["lesions"] > 1 and share < HIDDEN_SHARE:
        text = (
            f"the smaller half of the {target['lesions']} lesions of {name} has {share:.1%} of its volume, so Dice "
            "hardly shows whether they are found: look at the lesion recall, by size."
        )
        yield DatasetWarning("hidden_from_dice", name, text)


def _of_resampling(summary: Mapping[str, Any], name: str, target: Mapping[str, Any]) -> Iterator[DatasetWarning]:
    plan, resampled = summary["plan"], target["resampled"]
    number = resampled["lesions"]
    about = " (an estimate)" if resampled["how"] == "estimated" else ""
    if resampled["vanished"]:
        text = (
            f"{_of(resampled['vanished'], number)} of {name} {_verb(resampled['vanished'], 'vanish')} when "
            f"{plan['configuration']} resamples to {by(plan['spacing'])}: no network can learn them, so "
            f"{_finer(summary)}."
        )
        yield DatasetWarning("vanished", name, text)
    if resampled["below_min_voxels"] >= NOTABLE_SHARE * number:
        where = " in any slice" if plan["slicewise"] and summary["dimensions"] == 3 else ""
        before = target["annotated_below_min_voxels"]
        remedy = (
            "check that they are not annotation errors, and evaluate them as a separate stratum"
            if before is None or resampled["below_min_voxels"] <= 1.1 * before
            else f"in the annotation it is {before}, so {_finer(summary)}"
        )
        text = (
            f"{_of(resampled['below_min_voxels'], number)} of {name} have fewer than {summary['min_voxels']} "
            f"{voxels_word(summary)}{where} of {plan['configuration']}{about}: {remedy}."
        )
        yield DatasetWarning("tiny", name, text)
    if resampled["below_token"] is not None and resampled["below_token"] >= NOTABLE_SHARE * number:
        network = summary["network"]
        text = (
            f"{_of(resampled['below_token'], number)} of {name} are smaller than one token of {network['name']} "
            f"({by(network['token'])} {voxels_word(summary)}){about}: {_finer(summary)}, and compare with a network "
            "that keeps the full resolution, such as the plans' own with -tr nnUNetTrainerCurriculum."
        )
        yield DatasetWarning("below_token", name, text)


def _finer(summary: Mapping[str, Any]) -> str:
    """How lesions get more voxels; nnU-Net's command line can change the spacing of 3d_fullres only."""
    configuration = summary["plan"]["configuration"]
    if summary["dimensions"] == 3 and summary["plan"]["slicewise"]:
        return "see whether -c 3d_fullres does better"
    if "lowres" in configuration:
        return "take 3d_fullres or the cascade"
    if summary["dimensions"] == 3:
        return "plan a finer spacing (nnUNetv2_plan_experiment -overwrite_target_spacing)"
    return f"add a configuration to the plans that inherits from {configuration} and has a finer spacing"


def _of_folds(
    summary: Mapping[str, Any], splits: Sequence[Mapping[str, Sequence[str]]], written: bool
) -> Iterator[DatasetWarning]:
    cases = {case["case"]: case for case in summary["per_case"]}
    where = "splits_final.json" if written else "the split that nnU-Net is going to make"
    if not splits:
        text = (
            f"{counted(len(cases), 'case')} are too few for the five folds that nnU-Net makes: train fold all, or "
            "write a splits_final.json."
        )
        yield DatasetWarning("too_few_cases_for_folds", None, text)
    unknown = sorted({case for fold in splits for part in ("train", "val") for case in fold[part]} - cases.keys())
    if unknown:
        text = f"splits_final.json names {listed(unknown)}, which the dataset does not have: nnU-Net will fail on them."
        yield DatasetWarning("unknown_cases_in_folds", None, text)
    for name, target in summary["targets"].items():
        if not target["lesions"]:
            continue
        having = {case for case, entry in cases.items() if entry["targets"][name]["voxels"]}
        for part, consequence in (
            ("val", "it cannot be evaluated there"),
            ("train", "it cannot be learnt there"),
        ):
            folds = [str(index) for index, fold in enumerate(splits) if not having & set(fold[part])]
            if folds:
                role = "validation" if part == "val" else "training"
                text = (
                    f"in {where}, fold {listed(folds)} has no {name} among its {role} cases, so {consequence}: write a "
                    f"splits_final.json that spreads the {counted(len(having), 'case')} with it."
                )
                yield DatasetWarning(f"absent_from_{role}", name, text)


def voxels_word(summary: Mapping[str, Any]) -> str:
    """``px`` or ``voxels``: the elements of the images as the network sees them."""
    slicewise = summary["plan"] is not None and summary["plan"]["slicewise"]
    return "px" if summary["dimensions"] == 2 or slicewise else "voxels"


def by(numbers: Sequence[float]) -> str:
    """Numbers of several axes, such as 4 x 4."""
    return " x ".join(f"{number:.4g}" for number in numbers)


def _of(number: int, total: int) -> str:
    return f"{number} of {total} lesions ({number / total:.0%})"


def _verb(number: int, verb: str) -> str:
    singular = {"has": ("has", "have"), "vanish": ("vanishes", "vanish")}[verb]
    return singular[number != 1]


def listed(names: Collection[str], most: int = 5) -> str:
    """The first of some names, and how many more there are."""
    shown = ", ".join(list(names)[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
