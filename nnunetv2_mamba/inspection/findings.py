"""What is worth knowing before training, in sentences with a remedy."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nnunetv2_mamba.evaluation.text import counted

NOTABLE_SHARE = 0.05
"""Share of the lesions of a target from which it is worth a warning that they are tiny."""

FEW_CASES = 10
"""Cases with a target below which its scores depend on chance."""

HIDDEN_SHARE = 0.1
"""Share of the volume below which the smaller half of the lesions hardly moves a Dice score."""


@dataclass(frozen=True)
class DatasetWarning:
    """A warning.

    Attributes:
        kind: its name, for programs.
        target: class or region that it is about; None where it is about the dataset.
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
        written: whether they are those of that file, not those that nnU-Net is going to make.
    """
    found = []
    for name, target in summary["targets"].items():
        if target["lesions"] == 0:
            text = (
                f"no case has {name}: correct the labels, or take it out of dataset.json, since nothing can learn it."
            )
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
    if resampled := target["resampled"]:
        yield from _of_resampling(summary, name, target, resampled)
    elif target["annotated_below_min_voxels"] >= NOTABLE_SHARE * target["lesions"]:
        text = (
            f"{_of(target['annotated_below_min_voxels'], target['lesions'])} of {name} have fewer than "
            f"{summary['min_voxels']} voxels: see that they are no slips of the annotation, and evaluate them as a "
            "stratum of their own."
        )
        yield DatasetWarning("tiny", name, text)
    share = target["smaller_half_share"]
    if target["lesions"] > 1 and share < HIDDEN_SHARE:
        text = (
            f"the smaller half of the {target['lesions']} lesions of {name} has {share:.1%} of its volume, so Dice "
            "hardly shows whether they are found: look at the lesion recall, by size."
        )
        yield DatasetWarning("hidden_from_dice", name, text)


def _of_resampling(
    summary: Mapping[str, Any], name: str, target: Mapping[str, Any], resampled: Mapping[str, Any]
) -> Iterator[DatasetWarning]:
    plan, number = summary["plan"], resampled["lesions"]
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
            "see that they are no slips of the annotation, and evaluate them as a stratum of their own"
            if before is None or resampled["below_min_voxels"] <= 1.1 * before
            else f"as annotated it is {before}, so {_finer(summary)}"
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
    """How lesions get more voxels; nnU-Net takes another spacing on its command line for 3d_fullres only."""
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
            ("val", "nothing can be said of it there"),
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
    """What the smallest parts of the images are called, as the network sees them."""
    slicewise = summary["plan"] is not None and summary["plan"]["slicewise"]
    return "px" if summary["dimensions"] == 2 or slicewise else "voxels"


def by(numbers: Sequence[float]) -> str:
    """Numbers of several axes."""
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
