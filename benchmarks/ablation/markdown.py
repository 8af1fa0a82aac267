"""The generated part of ``benchmarks/results/ablation.md``: tables from ``ablation.json`` beside it, nothing else."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.ablation.rows import BASELINE, STOCK

MARK = "<!-- Generated from here on by `python -m benchmarks.ablation report`; what is above is written by hand. -->"
TITLE = "# Ablation\n\n## Does each part of S3-Mamba do something?\n\n"
OVERLAP = ("Dice", "IoU", "mean Dice", "mean IoU")
LESIONS = ("recall", "recall, small", "recall, medium", "recall, large", "precision")
COMPARED = ("Dice", "mean Dice", "recall", "recall, small", "precision")

USUAL_STEPS = 250_000
"""nnU-Net's 1000 epochs of 250."""

Summary = Mapping[str, Any]


def update(file: Path, report: Mapping[str, Any]) -> None:
    """Replace the text below the mark; a new file is written if there is none."""
    above = file.read_text().partition(MARK)[0].rstrip() + "\n\n" if file.exists() else TITLE
    file.write_text(above + MARK + "\n\n" + tables(report))


def tables(report: Mapping[str, Any]) -> str:
    """Everything below the mark."""
    parts = [_setting(report)]
    for name, dataset in report["datasets"].items():
        parts += [f"### {name}", _dataset_text(dataset)]
        for label in dataset["lesions"]:
            parts += [*_class_tables(label, dataset), *_comparisons(label, dataset)]
    return "\n\n".join([*parts, "### Time and memory", _costs(report)]) + "\n"


def _setting(report: Mapping[str, Any]) -> str:
    level, draws = f"{report['level']:.0%}", f"{report['resamples']:,} bootstrap draws"
    machines = "; ".join(
        f"{machine['device']}, {machine['cores']} threads, "
        + ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
        for machine in report["machines"]
    )
    return f"""![differences to the baseline](ablation.png)

**Trainings.** From scratch, on all training images (fold `all`), with nnU-Net's augmentation and each trainer's own
optimizer and schedule. No checkpoint is selected: the final weights predict the held-out images, without mirroring. A
seed sets weights and batches; all rows of a seed saw the same batches (hashes of the first and the last are compared).
The trainings are far shorter than a usual training of {USUAL_STEPS:,} steps: they say how fast the rows learn rather
than what they reach.

**Hardware and versions.** {machines}.

**Scores.** Dice and IoU over all pixels of all held-out images, and their means over the images whose reference has
the class. A lesion is a group of reference pixels that touch at edges or corners. It is a true positive if at least one
predicted pixel of its class lies in it. Recall: share of true positive lesions, in all and by thirds of lesion size.
Precision: share of predicted groups that overlap a lesion of their class; a hyphen where a seed predicts none.
False positives in images without the class count in Dice, IoU and precision over all pixels, not in the means.

**Intervals.** Means over seeds with {level} percentile intervals of {draws} of images (of eyes, where
images are tiles). They say how the same networks would score on other such images; with few eyes they are too narrow.
The columns of the seeds show how much a score varies from training to training, from lowest to highest: a difference
whose sign changes from seed to seed is not a difference, whatever its interval."""


def _dataset_text(dataset: Mapping[str, Any]) -> str:
    drawn = f"{dataset['clusters']} eyes" if dataset["clusters"] < dataset["images"] else "each by itself"
    lesions = "; ".join(
        f"{name.replace('_', ' ')}: {entry['number']} lesions, small up to {entry['size_limits'][0]:.0f} px, "
        f"large above {entry['size_limits'][1]:.0f} px"
        for name, entry in dataset["lesions"].items()
    )
    failed = "; ".join(f"{run['row']} in seed {run['seed']} ({run['reason']})" for run in dataset["failed"])
    budget = dataset["budget"]
    steps, patch = budget["epochs"] * budget["iterations"], f"{budget['patch']}x{budget['patch']}"
    return (
        f"Budget of each training: {steps} steps ({budget['epochs']} epochs of {budget['iterations']}) of "
        f"{budget['batch']} patches of {patch} pixels, {steps / USUAL_STEPS:.2%} of a usual training; prediction in "
        f"windows at steps of {budget['tile_step']:g} of their size. {dataset['images']} held-out images ({drawn}), "
        f"{len(dataset['seeds'])} seeds: differences below the spread over them cannot be told from chance. {lesions}. "
        f"Failed trainings: {failed or 'none'}; a seed in which one failed is in no table."
    )


def _class_tables(name: str, dataset: Mapping[str, Any]) -> list[str]:
    title, rows = name.replace("_", " "), dataset["rows"]
    overlap = [
        [row, *(_value(scores[name][score]) for score in OVERLAP), _seeds(scores[name]["Dice"])]
        for row, scores in rows.items()
    ]
    lesions = [[row, *(_value(scores[name][score]) for score in LESIONS)] for row, scores in rows.items()]
    return [
        f"#### {title}: scores",
        _table([title, *OVERLAP, "Dice, seeds"], overlap),
        _table([title, *LESIONS], lesions),
    ]


def _comparisons(name: str, dataset: Mapping[str, Any]) -> list[str]:
    title = name.replace("_", " ")
    rows = {row: f"{row} (reference, another optimizer)" if row == STOCK else row for row in dataset["rows"]}

    def table(first: str, differences: Mapping[str, Any]) -> str:
        lines = []
        for row, scores in differences.items():
            cells = [_value(scores[name][score], "+") for score in COMPARED]
            lines.append([rows.get(row, row), *cells, _seeds(scores[name]["Dice"], "+")])
        return _table([first, *COMPARED, "Dice, seeds"], lines)

    return [
        f"#### {title}: difference to {BASELINE}, paired by seed and image",
        table("row", dataset["to_baseline"]),
        f"#### {title}: effect of each part, mean over the four pairs of rows that differ in it only",
        table("part", dataset["parts"]),
        f"#### {title}: TCMA switched off at prediction, its gains set to zero after training",
        table("row", dataset["tcma_off"]),
    ]


def _costs(report: Mapping[str, Any]) -> str:
    rows = []
    for name, dataset in report["datasets"].items():
        for row, cost in dataset["costs"].items():
            figures = (cost["parameters"], cost["train_cpu_seconds"], cost["peak_memory_MiB"])
            rows.append([name, row, *(f"{figure:,.0f}" for figure in figures)])
    # CPU seconds: wall-clock time depends on how many trainings ran at the same time.
    return _table(["dataset", "row", "parameters", "training, CPU seconds", "peak memory, MiB"], rows)


def _value(summary: Summary, sign: str = "") -> str:
    if summary["mean"] is None:
        return "-"
    low, high = summary["interval"]
    return f"{summary['mean']:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


def _seeds(summary: Summary, sign: str = "") -> str:
    values = [value for value in summary["seeds"] if value is not None]
    return f"{min(values):{sign}.3f} to {max(values):{sign}.3f}" if values else "-"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
