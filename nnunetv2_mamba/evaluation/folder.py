"""Evaluation of many cases from files, several at a time, and the files it leaves."""

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from nnunetv2_mamba import __version__
from nnunetv2_mamba.evaluation.case import Pair, compare_pair
from nnunetv2_mamba.evaluation.errors import EvaluationError
from nnunetv2_mamba.evaluation.froc import counts_by_threshold, probabilities_of
from nnunetv2_mamba.evaluation.images import Segmentation, SegmentationReader, read_segmentation, require_same_grid
from nnunetv2_mamba.evaluation.metrics import METRICS
from nnunetv2_mamba.evaluation.parallel import for_each
from nnunetv2_mamba.evaluation.parts import Part
from nnunetv2_mamba.evaluation.protocol import Protocol
from nnunetv2_mamba.evaluation.summary import jsonable, sensitivity_of, summarise_target
from nnunetv2_mamba.evaluation.targets import Target
from nnunetv2_mamba.files import written_aside

SUMMARY_FILE = "lesion_summary.json"
LESIONS_FILE = "lesions.csv"
FORMAT = 1
COLUMNS = ("case", "fold", "target", *(entry.name for entry in fields(Part)))


@dataclass(frozen=True)
class CaseFiles:
    """Where a case is.

    Attributes:
        case: its name.
        reference: file of the reference segmentation.
        prediction: file of the predicted one; None where there is none.
        fold: of the cross-validation whose network has predicted it; None where that is not known.
        probabilities: file that nnU-Net writes with ``--npz``; None where there is none.
    """

    case: str
    reference: Path
    prediction: Path | None
    fold: int | None = None
    probabilities: Path | None = None

    @classmethod
    def within(
        cls, case: str, references: Path, predictions: Path, ending: str, fold: int | None = None
    ) -> "CaseFiles":
        """Files of a case where nnU-Net has them; of the predictions, those that are there.

        Args:
            case: its name.
            references: folder of the reference segmentations.
            predictions: folder of the predicted ones.
            ending: of their names, such as ``.nii.gz``.
            fold: of the cross-validation.
        """
        prediction, probabilities = predictions / f"{case}{ending}", predictions / f"{case}.npz"
        return cls(
            case=case,
            reference=references / f"{case}{ending}",
            prediction=prediction if prediction.is_file() else None,
            fold=fold,
            probabilities=probabilities if probabilities.is_file() else None,
        )


@dataclass
class Evaluation:
    """Result of an evaluation.

    Attributes:
        summary: content of ``lesion_summary.json``.
        lesions: case, fold, target and part of every row of ``lesions.csv``.
    """

    summary: dict[str, Any]
    lesions: list[tuple[str, int | None, str, Part]]

    @property
    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows of ``lesions.csv`` as mappings, with empty texts for what is not defined."""
        for case, fold, target, part in self.lesions:
            values = (getattr(part, entry.name) for entry in fields(Part))
            yield dict(zip(COLUMNS, map(_text, (case, fold, target, *values)), strict=True))

    def write(self, folder: Path) -> None:
        """Write ``lesion_summary.json`` and ``lesions.csv``, each whole or not at all.

        Raises:
            OSError: the folder cannot be written to.
        """
        with written_aside(folder / LESIONS_FILE) as aside, aside.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(self.rows)
        with written_aside(folder / SUMMARY_FILE) as aside:
            aside.write_text(json.dumps(self.summary, indent=1, allow_nan=False) + "\n")


@dataclass(frozen=True)
class Settings:
    """What every case is evaluated with.

    Attributes:
        reader: one of nnU-Net's, or like it.
        targets: what is evaluated.
        protocol: the rules.
        ignore_label: voxels that count for nothing; None without such a label.
        sensitivity: more protocols to count under.
        froc: whether probabilities are used where there are some.
    """

    reader: SegmentationReader
    targets: Sequence[Target]
    protocol: Protocol = field(default_factory=Protocol)
    ignore_label: int | None = None
    sensitivity: Sequence[Protocol] = ()
    froc: bool = True


def evaluate_files(
    cases: Sequence[CaseFiles],
    settings: Settings,
    *,
    allow_missing: bool = False,
    processes: int = 1,
    progress: bool = False,
    about: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Compare predictions with their references.

    Args:
        cases: where they are.
        settings: what every case is evaluated with.
        allow_missing: whether a case without a prediction counts as predicted empty.
        processes: how many cases at a time; a few small ones are evaluated in this process in any case.
        progress: whether to show a progress bar.
        about: more entries of the summary, such as the folders that the cases are from.

    Raises:
        EvaluationError: there is no case, a prediction is missing, or a process was killed.
        GeometryError: a prediction is not of the grid of its reference.
        OSError: a file cannot be read.
    """
    if not cases:
        raise EvaluationError("there is no case to evaluate: the folder of references holds no file of this dataset.")
    missing = [case.case for case in cases if case.prediction is None]
    if missing and not allow_missing:
        few = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise EvaluationError(
            f"{len(missing)} of {len(cases)} cases have no prediction ({few}): predict them, leave their references "
            "out, or count them as predicted empty with --allow-missing."
        )
    ordered = sorted(cases, key=lambda case: (case.case, case.fold or 0))
    results = for_each(partial(evaluate_case, settings=settings), ordered, processes)
    bar = tqdm(results, total=len(cases), disable=not progress, desc="evaluating", unit="case")
    return _collect(list(bar), settings, dict(about or {}))


def read_evaluation(folder: Path) -> Evaluation:
    """What `Evaluation.write` has written.

    Raises:
        EvaluationError: the files are of another format.
        OSError: a file cannot be read.
    """
    summary = json.loads((folder / SUMMARY_FILE).read_text())
    if summary.get("format") != FORMAT:
        raise EvaluationError(f"{folder / SUMMARY_FILE} has the format {summary.get('format')}: evaluate again.")
    with (folder / LESIONS_FILE).open(newline="") as file:
        lesions = [_parsed(row) for row in csv.DictReader(file)]
    return Evaluation(summary, lesions)


def evaluate_case(files: CaseFiles, settings: Settings) -> dict[str, Any]:
    """Everything that is measured in one case.

    Raises:
        GeometryError: the prediction is not of the grid of its reference.
        OSError: a file cannot be read.
    """
    reference = read_segmentation(settings.reader, files.reference)
    if files.prediction is None:
        predicted = np.zeros_like(reference.array)
    else:
        prediction = read_segmentation(settings.reader, files.prediction)
        require_same_grid(reference, prediction)
        predicted = prediction.array
    ignored = None if settings.ignore_label is None else reference.array == settings.ignore_label
    results: dict[str, Any] = {"parts": {}, "sensitivity": {}, "targets": {}}
    for target in settings.targets:
        pair = Pair(target.mask(reference.array), target.mask(predicted), reference.spacing, ignored)
        comparison = compare_pair(pair, settings.protocol)
        results["parts"][target.name] = comparison.parts
        results["targets"][target.name] = {
            "cell": comparison.cell,
            "counts": comparison.counts,
            "metrics": comparison.metrics,
        }
        results["sensitivity"][target.name] = [
            compare_pair(pair, protocol, distances=False).counts for protocol in settings.sensitivity
        ]
    return results | {
        "files": files,
        "spacing": reference.spacing,
        "unit": reference.unit,
        "froc": _froc(files, settings, reference, ignored),
    }


def _froc(files: CaseFiles, settings: Settings, reference: Segmentation, ignored: np.ndarray | None) -> dict[str, Any]:
    if files.probabilities is None or not settings.froc:
        return {}
    probabilities = probabilities_of(files.probabilities, settings.targets, reference.array.shape)
    return {
        target.name: counts_by_threshold(
            probabilities[target.name],
            target.mask(reference.array),
            reference.spacing,
            settings.protocol,
            ignored,
        )
        for target in settings.targets
    }


def _collect(results: Sequence[Mapping[str, Any]], settings: Settings, about: Mapping[str, Any]) -> Evaluation:
    dimensions = {len(result["spacing"]) for result in results}
    if len(dimensions) > 1:
        raise EvaluationError("some cases are images and some are volumes: evaluate them apart.")
    unit = "mm" if any(result["unit"] == "mm" for result in results) else "px"
    targets = {}
    for target in settings.targets:
        cases = [
            result["targets"][target.name]
            | {"voxel_size": float(np.prod(result["spacing"])), "froc": result["froc"].get(target.name)}
            for result in results
        ]
        parts = [part for result in results for part in result["parts"][target.name]]
        targets[target.name] = summarise_target(target, cases, parts, settings.protocol)
    sensitivity = [result["sensitivity"] for result in results]
    summary = {
        "format": FORMAT,
        "made_by": f"nnunetv2_mamba {__version__}",
        "protocol": settings.protocol.as_dict(),
        "protocol_hash": settings.protocol.hash,
        "unit": unit,
        "dimensions": dimensions.pop(),
        **about,
        "metrics": {
            name: metric.as_dict(unit, len(results[0]["spacing"]), settings.protocol)
            for name, metric in METRICS.items()
        },
        "targets": targets,
        "sensitivity": sensitivity_of(settings.sensitivity, settings.targets, sensitivity) or None,
        "cases": [_entry(result) for result in results],
    }
    lesions = [
        (result["files"].case, result["files"].fold, name, part)
        for result in results
        for name, parts in result["parts"].items()
        for part in parts
    ]
    return Evaluation(jsonable(summary), lesions)


def _entry(result: Mapping[str, Any]) -> dict[str, Any]:
    files: CaseFiles = result["files"]
    return {
        "case": files.case,
        "fold": files.fold,
        "reference_file": str(files.reference),
        "prediction_file": None if files.prediction is None else str(files.prediction),
        "spacing": list(result["spacing"]),
        "targets": result["targets"],
    }


def _text(value: Any) -> str:
    """A field of ``lesions.csv``."""
    if value is None:
        return ""
    if isinstance(value, tuple):
        return " ".join(map(_text, value))
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else ""
    return str(value)


def _parsed(row: Mapping[str, str]) -> tuple[str, int | None, str, Part]:
    number = {name: float(row[name]) if row[name] else math.nan for name in ("size", "dice", "iou", "distance", "hd95")}
    part = Part(
        kind="lesion" if row["kind"] == "lesion" else "component",
        id=int(row["id"]),
        status=row["status"],
        voxels=int(row["voxels"]),
        centre=tuple(float(index) for index in row["centre"].split()),
        matched=tuple(int(match) for match in row["matched"].split()),
        **number,
    )
    return row["case"], int(row["fold"]) if row["fold"] else None, row["target"], part
