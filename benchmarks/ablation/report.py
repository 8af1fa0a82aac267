"""From finished trainings to scores with intervals: ``benchmarks/results/ablation.json``, its tables and figure."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ablation.data import DATASETS, AblationError, Budget
from benchmarks.ablation.figure import draw
from benchmarks.ablation.intervals import RESAMPLES, ratios, resampled, size_limits, summary
from benchmarks.ablation.markdown import update
from benchmarks.ablation.rows import BASELINE, OPTIONAL, PARTS, ROWS, pairs
from benchmarks.ablation.runs import Run, kept_budgets, results
from benchmarks.machine import RESULTS
from nnunetv2_mamba.report.statistics import LEVEL, Resampling

Results = Mapping[Run, Mapping[str, Any]]


def write(work: Path) -> None:
    """Write the JSON, the generated part of ``ablation.md`` beside it and its figure.

    Raises:
        AblationError: no seed is complete, or rows of one seed saw different batches.
    """
    report = compare(dict(results(work)), kept_budgets(work))
    file = RESULTS / "ablation.json"
    file.write_text(json.dumps(_rounded(report), indent=1) + "\n")
    report = json.loads(file.read_text())
    update(RESULTS / "ablation.md", report)
    draw(report, RESULTS / "ablation.png")
    for name, dataset in report["datasets"].items():
        print(f"{name}: {len(dataset['seeds'])} seeds, {len(dataset['failed'])} failed trainings")


def compare(finished: Results, budgets: Mapping[str, Budget], resamples: int = RESAMPLES) -> dict[str, Any]:
    """Compare the rows of each dataset over the seeds that all eight have finished.

    Args:
        finished: results, those of failed trainings included.
        budgets: of the trainings on each dataset.
        resamples: of the intervals.

    Raises:
        AblationError: no seed is complete, or rows of one seed saw different batches.
    """
    datasets = {}
    for name in DATASETS:
        runs = {run: result for run, result in finished.items() if run.dataset == name}
        if seeds := _complete_seeds(runs):
            datasets[name] = {"budget": asdict(budgets[name]), **_dataset(runs, seeds, resamples)}
    if not datasets:
        raise AblationError("no seed is complete: let python -m benchmarks.ablation run train all eight rows of one.")
    kept = [result for run, result in finished.items() if run.dataset in datasets and "failed" not in result]
    return {
        "machines": _distinct(result["machine"] for result in kept),
        "level": LEVEL,
        "resamples": resamples,
        "datasets": datasets,
    }


def _complete_seeds(runs: Results) -> list[int]:
    done = {(run.row, run.seed) for run, result in runs.items() if "failed" not in result}
    seeds = sorted({run.seed for run in runs})
    return [seed for seed in seeds if all((row, seed) in done for row in ROWS)]


def _dataset(runs: Results, seeds: list[int], resamples: int) -> dict[str, Any]:
    by_row = {
        (run.row, run.seed): result for run, result in runs.items() if run.seed in seeds and "failed" not in result
    }
    _require_equal_batches(by_row)
    rows = [row for row in (*ROWS, *OPTIONAL) if all((row, seed) in by_row for seed in seeds)]
    reference = by_row[BASELINE, seeds[0]]["scores"]["as trained"]
    classes = list(next(iter(reference.values())))
    lesions = {name: [size for case in reference.values() for size in case[name]["lesions"]] for name in classes}
    limits = {name: size_limits(sizes) for name, sizes in lesions.items()}
    # IDRiD_17_y0136_x1264 is a tile of the eye IDRiD_17; dsb_120 is an image by itself.
    resampling = Resampling(["_".join(case.split("_")[:2]) for case in reference], resamples)

    def scores(row: str, mode: str = "as trained") -> dict[str, dict[str, np.ndarray]]:
        return _scores([by_row[row, seed]["scores"][mode] for seed in seeds], limits, resampling)

    trained = {row: scores(row) for row in rows}
    return {
        "seeds": seeds,
        "images": len(reference),
        "clusters": resampling.number,
        "failed": [
            {"row": run.row, "seed": run.seed, "reason": result["failed"]}
            for run, result in runs.items() if "failed" in result
        ],
        "lesions": {name: {"number": len(lesions[name]), "size_limits": limits[name]} for name in classes},
        "costs": {row: _costs([by_row[row, seed] for seed in seeds]) for row in rows},
        "rows": {row: _summaries(values) for row, values in trained.items()},
        "to_baseline": {
            row: _summaries(_difference([trained[row]], [trained[BASELINE]])) for row in rows if row != BASELINE
        },
        "parts": {
            part: _summaries(
                _difference([trained[row] for _, row in pairs(part)], [trained[row] for row, _ in pairs(part)])
            )
            for part in PARTS
        },
        "tcma_off": {
            row: _summaries(_difference([scores(row, "TCMA off")], [trained[row]]))
            for row, parts in ROWS.items() if "TCMA" in parts
        },
    }  # fmt: skip


def _scores(
    seeds: list[Mapping[str, Any]], limits: Mapping[str, list[float]], resampling: Resampling
) -> dict[str, dict[str, np.ndarray]]:
    """Scores (seeds, 1 + resamples) of one row, by class and name."""
    scores = {}
    for name, limit in limits.items():
        counts = [[ratios(case[name], limit) for case in cases.values()] for cases in seeds]
        scores[name] = {
            score: resampled(np.array([[case[score] for case in cases] for cases in counts], dtype=float), resampling)
            for score in counts[0][0]
        }
    return scores


def _difference(
    of: list[dict[str, dict[str, np.ndarray]]], to: list[dict[str, dict[str, np.ndarray]]]
) -> dict[str, dict[str, np.ndarray]]:
    """Mean of some rows minus mean of others, seed by seed and draw by draw."""
    return {
        name: {
            score: np.mean([row[name][score] for row in of], axis=0) - np.mean([row[name][score] for row in to], axis=0)
            for score in of[0][name]
        }
        for name in of[0]
    }


def _summaries(scores: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, Any]:
    return {name: {score: summary(values) for score, values in by_score.items()} for name, by_score in scores.items()}


def _costs(runs: list[Mapping[str, Any]]) -> dict[str, float]:
    """Parameters of a row, and the means over its seeds of time and memory."""
    names = ("parameters", "train_cpu_seconds", "peak_memory_MiB")
    return {name: float(np.mean([run[name] for run in runs])) for name in names}


def _require_equal_batches(by_row: Mapping[tuple[str, int], Mapping[str, Any]]) -> None:
    for (row, seed), result in by_row.items():
        if result["batches"] != by_row[BASELINE, seed]["batches"]:
            raise AblationError(f"{row} saw other batches than {BASELINE} in seed {seed}: train both again.")


def _distinct(machines: Iterable[Mapping[str, Any]]) -> list[Any]:
    return [json.loads(text) for text in sorted({json.dumps(machine, sort_keys=True) for machine in machines})]


def _rounded(value: Any) -> Any:
    """Numbers with four digits, which keeps the file readable."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value
