"""What the trainings say: one table for each class of each dataset, with intervals and the spread between seeds."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.small_lesions.curves import FALSE_POSITIVES, Counts, Strata, area_up_to, recall_at
from benchmarks.small_lesions.runs import finished
from benchmarks.small_lesions.scoring import DEFAULT_THRESHOLD, THRESHOLDS
from nnunetv2_mamba.report.statistics import Resampling, interval

BASELINE = "nnUNetTrainer"
STRATA = ("small", "medium", "large", "below token")
COLUMNS = (
    *(f"small at {at:g} FP" for at in FALSE_POSITIVES),
    "small, area to 2 FP",
    *(f"{stratum} at 1 FP" for stratum in STRATA[1:]),
    "F1 at 0.5",
    "Dice",
    "NSD",
)
"""Scores that a table shows."""


@dataclass(frozen=True)
class Row:
    """Scores of one trainer on one class, each (seeds, 1 + draws); the images as they are come first.

    Attributes:
        trainer: its name.
        seeds: of the trainings.
        scores: by name.
        cost: CPU seconds of a training, mean over the seeds, by what it was trained on.
    """

    trainer: str
    seeds: list[int]
    scores: dict[str, np.ndarray]
    cost: dict[str, float]

    def text(self, score: str) -> str:
        """Mean over the seeds and, for several, half the range between them."""
        values = self.scores[score][:, 0]
        mean = f"{values.mean():.2f}"
        return mean if len(values) == 1 else f"{mean} ± {np.ptp(values) / 2:.2f}"


def render(results: Path, *, question: str, budget: str, columns: Sequence[str] = COLUMNS) -> str:
    """The tables as Markdown, each below the name of its dataset and class.

    Args:
        results: folder of the results.
        question: which results are compared.
        budget: likewise.
        columns: of the tables, some of `COLUMNS`.
    """
    parts = []
    for dataset, trainers in sorted(by_dataset(results, question=question, budget=budget).items()):
        for name in classes_of(trainers):
            parts.append(f"**{dataset}, {name}**\n\n{_table(trainers, name, columns)}")
    return "\n\n".join(parts)


def by_dataset(results: Path, *, question: str, budget: str) -> dict[str, dict[str, dict[int, Any]]]:
    """Finished trainings by dataset, trainer and seed, of datasets with several trainers; see `render`."""
    found: dict[str, dict[str, dict[int, Any]]] = defaultdict(lambda: defaultdict(dict))
    for run, content in finished(results):
        if (run.question, run.budget) == (question, budget):
            found[run.dataset][run.trainer][run.seed] = content
    return {dataset: trainers for dataset, trainers in found.items() if len(trainers) > 1}


def classes_of(trainers: Mapping[str, Mapping[int, Any]]) -> list[str]:
    """Names of the classes of a dataset, from its results."""
    return list(next(iter(_example(trainers)["cases"].values()))["classes"])


def _example(trainers: Mapping[str, Mapping[int, Any]]) -> dict[str, Any]:
    return next(iter(next(iter(trainers.values())).values()))


def _table(trainers: Mapping[str, Mapping[int, Any]], name: str, columns: Sequence[str]) -> str:
    rows = rows_of(trainers, name)
    baseline = next((row for row in rows if row.trainer == BASELINE), None)
    difference = f"small at 1 FP minus {BASELINE} [95 % interval]"
    heading = ["trainer", "seeds", *columns, difference, "CPU time / U-Net's"]
    lines = [heading, ["---"] * len(heading)]
    for row in rows:
        cells = [row.text(score) for score in columns]
        lines.append(
            [row.trainer, str(len(row.seeds)), *cells, _difference(row, baseline), _relative_cost(row, baseline)]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def rows_of(trainers: Mapping[str, Mapping[int, Any]], name: str) -> list[Row]:
    """One row a trainer, in alphabetical order.

    Args:
        trainers: results by trainer and seed, all of the same images.
        name: of the class.
    """
    example, strata = _example(trainers)["cases"], strata_of(trainers, name)
    weights = Resampling([example[case]["group"] for case in sorted(example)]).weights
    rows = []
    for trainer, results in sorted(trainers.items()):
        scores: dict[str, list[np.ndarray]] = defaultdict(list)
        for _, content in sorted(results.items()):
            for score, drawn in scores_of(content["cases"], name, strata=strata, weights=weights).items():
                scores[score].append(drawn)
        drawn_scores = {score: np.stack(drawn) for score, drawn in scores.items()}
        rows.append(Row(trainer, sorted(results), drawn_scores, _cost(list(results.values()))))
    return rows


def strata_of(trainers: Mapping[str, Mapping[int, Any]], name: str) -> Strata:
    """Strata of the lesions of a class; arguments as of `rows_of`."""
    example = _example(trainers)
    sizes = np.concatenate([case["classes"][name]["voxels"] for case in example["cases"].values()])
    return Strata.of(sizes, dimensions=len(example["patch_size"]))


def scores_of(cases: Mapping[str, Any], name: str, *, strata: Strata, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Scores of one class in the result of one training, for each draw of images (draws,).

    Args:
        cases: ``cases`` of the result.
        name: of the class.
        strata: of the lesions.
        weights: how often each image is in each draw (draws, images), images in alphabetical order.
    """
    counts = Counts.of(cases, name, strata)
    scores = {}
    for stratum in ("all", *STRATA):
        false_positives, recall = counts.curve(stratum, weights)
        for at in FALSE_POSITIVES:
            scores[f"{stratum} at {at:g} FP"] = recall_at(false_positives, recall, at)
        scores[f"{stratum}, area to 2 FP"] = area_up_to(false_positives, recall, 2.0)
    index = THRESHOLDS.index(DEFAULT_THRESHOLD)
    detected, lesions = weights @ counts.detected["all"][:, index], weights @ counts.lesions["all"]
    false = weights @ counts.false_positives[:, index]
    with np.errstate(invalid="ignore", divide="ignore"):
        scores["F1 at 0.5"] = 2 * detected / (detected + lesions + false)
        ordered = [cases[case]["classes"][name] for case in sorted(cases)]
        TP, FP, FN = (weights @ np.array([score[key] for score in ordered]) for key in ("TP", "FP", "FN"))
        scores["Dice"] = 2 * TP / (2 * TP + FP + FN)
        surface = np.array([np.nan if score["nsd"] is None else score["nsd"] for score in ordered])
        defined = np.isfinite(surface)
        scores["NSD"] = (weights[:, defined] @ surface[defined]) / weights[:, defined].sum(axis=1)
    return scores


def _difference(row: Row, baseline: Row | None) -> str:
    if baseline is None or row is baseline:
        return ""
    shared = sorted(set(row.seeds) & set(baseline.seeds))
    if not shared:
        return "no common seed"
    of, base = ([one.seeds.index(seed) for seed in shared] for one in (row, baseline))
    drawn = (row.scores["small at 1 FP"][of] - baseline.scores["small at 1 FP"][base]).mean(axis=0)
    low, high = interval(drawn)
    return f"{drawn[0]:+.2f} [{low:+.2f}, {high:+.2f}]"


def _cost(results: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    seconds: dict[str, list[float]] = defaultdict(list)
    for content in results:
        # Seconds of different machines say nothing of the trainers.
        seconds[content["machine"].get("gpu", "CPU")].append(content["train_cpu_seconds"])
    return {machine: float(np.mean(values)) for machine, values in seconds.items()}


def _relative_cost(row: Row, baseline: Row | None) -> str:
    """Seconds over those of the baseline on the same machine; empty where there is none that has trained both."""
    if baseline is None:
        return ""
    ratios = [seconds / baseline.cost[machine] for machine, seconds in row.cost.items() if machine in baseline.cost]
    return f"{np.mean(ratios):.2f}" if ratios else ""
