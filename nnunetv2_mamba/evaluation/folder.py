"""Evaluation of many cases from files, several at a time."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from nnunetv2_mamba import __version__
from nnunetv2_mamba.evaluation.case import MaskPair, compare_pair
from nnunetv2_mamba.evaluation.emptiness import require_known_metrics
from nnunetv2_mamba.evaluation.errors import EvaluationError, GeometryError
from nnunetv2_mamba.evaluation.froc import comparisons_by_threshold, probabilities_of
from nnunetv2_mamba.evaluation.grids import TOLERANCE, compare_grids
from nnunetv2_mamba.evaluation.images import (
    Segmentation,
    SegmentationReader,
    Unit,
    read_segmentation,
    require_known_labels,
)
from nnunetv2_mamba.evaluation.metrics import METRICS
from nnunetv2_mamba.evaluation.operating_point import OperatingPoints, decide
from nnunetv2_mamba.evaluation.parallel import for_each
from nnunetv2_mamba.evaluation.protocol import Protocol
from nnunetv2_mamba.evaluation.results import FORMAT, Evaluation
from nnunetv2_mamba.evaluation.summary import jsonable, sensitivity_of, summarise_target
from nnunetv2_mamba.evaluation.targets import Target, ignore_label_of, known_labels, targets_of

Geometry = Literal["world", "voxels"]
"""What decides whether two voxels are the same: their place by the headers, or their index."""

SIBLINGS = {".nii.gz": ".nii", ".nii": ".nii.gz"}
"""Endings of which a folder may have either: the content is the same."""


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

        Raises:
            EvaluationError: a folder has two files of the case.
        """
        # Whole paths: results are read again from other folders.
        references, predictions = references.absolute(), predictions.absolute()
        probabilities = predictions / f"{case}.npz"
        return cls(
            case=case,
            reference=file_of(references, case, ending) or references / f"{case}{ending}",
            prediction=file_of(predictions, case, ending),
            fold=fold,
            probabilities=probabilities if probabilities.is_file() else None,
        )

    def stamp(self) -> dict[str, str | int | None]:
        """What tells whether the files are still the same: hashes of the segmentations, size of the probabilities.

        Raises:
            OSError: a file cannot be read.
        """
        return {
            "reference": _hash(self.reference),
            "prediction": None if self.prediction is None else _hash(self.prediction),
            "probabilities": None if self.probabilities is None else self.probabilities.stat().st_size,
        }


def file_of(folder: Path, case: str, ending: str) -> Path | None:
    """File of a case in a folder, compressed or not; None if there is none.

    Args:
        folder: that is searched.
        case: its name.
        ending: that dataset.json names.

    Raises:
        EvaluationError: there are two.
    """
    names = [f"{case}{ending}", *([f"{case}{SIBLINGS[ending]}"] if ending in SIBLINGS else [])]
    found = [folder / name for name in names if (folder / name).is_file()]
    if len(found) > 1:
        raise EvaluationError(f"{folder} has two files of the case {case}, {' and '.join(names)}: remove one of them.")
    return found[0] if found else None


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.blake2b(file.read(), digest_size=8).hexdigest()


@dataclass(frozen=True)
class Settings:
    """What every case is evaluated with.

    Attributes:
        reader: one of nnU-Net's, or like it.
        targets: what is evaluated.
        protocol: the rules.
        ignore_label: voxels that count for nothing; None without such a label.
        known: values that segmentations may have besides 0; None for any.
        sensitivity: more protocols to count under.
        froc: whether probabilities are used where there are some.
        geometry: ``world``, where a warning says that a prediction is not where its reference is, or ``voxels``, where
            it is known that their voxels belong together.
        values: new label of each value that is replaced in all segmentations.
        operating_points: by which the predictions are decided again from their probabilities; None for the predictions
            as they are.
    """

    reader: SegmentationReader
    targets: Sequence[Target]
    protocol: Protocol = field(default_factory=Protocol)
    ignore_label: int | None = None
    known: frozenset[int] | None = None
    sensitivity: Sequence[Protocol] = ()
    froc: bool = True
    geometry: Geometry = "world"
    values: Mapping[int, int] = field(default_factory=dict)
    operating_points: OperatingPoints | None = None

    @classmethod
    def of(cls, dataset: Mapping[str, Any], reader: SegmentationReader, **further: Any) -> "Settings":
        """Settings for a dataset of nnU-Net.

        Args:
            dataset: content of dataset.json.
            reader: of its files.
            further: other attributes.

        Raises:
            ValueError: dataset.json names no foreground label.
        """
        return cls(
            reader=reader,
            targets=targets_of(dataset),
            ignore_label=ignore_label_of(dataset),
            known=known_labels(dataset),
            **further,
        )


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
        GeometryError: a prediction does not have the shape of its reference.
        OSError: a file cannot be read.
        ValueError: the protocol has values for what is no metric.
    """
    if not cases:
        raise EvaluationError("there is no case to evaluate: the folder of references holds no file of this dataset.")
    missing = [case.case for case in cases if case.prediction is None]
    if missing and not allow_missing:
        raise EvaluationError(
            f"{_missing(missing, cases)}: predict them, leave their references out, or count them "
            "as predicted empty with --allow-missing."
        )
    for protocol in (settings.protocol, *settings.sensitivity):
        require_known_metrics(protocol)
    ordered = sorted(cases, key=lambda case: (case.case, case.fold or 0))
    results = for_each(partial(_with_stamp, settings=settings), ordered, processes)
    bar = tqdm(results, total=len(cases), disable=not progress, desc="evaluating", unit="case")
    warnings = [f"{_missing(missing, cases)}: they count as predicted empty"] if missing else []
    if about and about.get("trained_on_cases"):
        warnings.append("the network of fold all was trained on these very cases: this says nothing of others")
    return _collect(list(bar), settings, dict(about or {}), warnings)


def _with_stamp(files: CaseFiles, settings: Settings) -> dict[str, Any]:
    return evaluate_case(files, settings) | {"stamp": files.stamp()}


def _missing(missing: Sequence[str], cases: Sequence[CaseFiles]) -> str:
    few = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
    return f"{len(missing)} of {len(cases)} cases have no prediction ({few})"


def evaluate_case(files: CaseFiles, settings: Settings) -> dict[str, Any]:
    """Everything that is measured in one case.

    Raises:
        EvaluationError: a segmentation has values that dataset.json does not name, or does not hold one label a voxel.
        GeometryError: the prediction does not have the shape of its reference.
        OSError: a file cannot be read.
    """
    reference, warnings = _labels(settings, files.reference)
    predicted = np.zeros_like(reference.array)
    if files.prediction is not None:
        prediction, further = _labels(settings, files.prediction)
        apart = compare_grids(reference, prediction)
        predicted, warnings = prediction.array, [*warnings, *further]
        if apart is not None and settings.geometry == "world":
            warnings.append(apart)
        if settings.operating_points is not None:
            predicted = _decided(files, settings, reference)
    ignored = None if settings.ignore_label is None else reference.array == settings.ignore_label
    results: dict[str, Any] = {"parts": {}, "sensitivity": {}, "targets": {}}
    for target in settings.targets:
        pair = MaskPair(
            target.mask(reference.array), target.mask(predicted), spacing=reference.spacing, ignored=ignored
        )
        comparison = compare_pair(pair, settings.protocol)
        results["parts"][target.name] = comparison.parts
        results["targets"][target.name] = {
            "cell": comparison.emptiness,
            "counts": comparison.counts,
            "metrics": comparison.metrics,
        }
        results["sensitivity"][target.name] = [
            compare_pair(pair, protocol, distances=False).counts for protocol in settings.sensitivity
        ]
    results |= {"files": files, "spacing": reference.spacing, "unit": reference.unit}
    try:
        return results | {"froc": _froc(files, settings, reference, ignored), "warnings": warnings}
    except (GeometryError, OSError) as error:
        # Probabilities are an extra: without them all the rest is as true.
        return results | {"froc": {}, "warnings": [*warnings, f"left out of the free-response ROC: {error}"]}


def _labels(settings: Settings, path: Path) -> tuple[Segmentation, list[str]]:
    """A label map whose values are known, and what was odd about its file."""
    segmentation = read_segmentation(settings.reader, path, settings.values)
    require_known_labels(segmentation, settings.known)
    return segmentation, list(segmentation.warnings)


def _decided(files: CaseFiles, settings: Settings, reference: Segmentation) -> np.ndarray:
    if files.probabilities is None or settings.operating_points is None:
        raise EvaluationError(
            f"{files.case} has no probabilities, from which an operating point decides: validate with --npz, or "
            "predict with --save_probabilities."
        )
    probabilities = probabilities_of(files.probabilities, settings.targets, reference.array.shape)
    return decide(probabilities, settings.targets, settings.operating_points, spacing=reference.spacing)


def _froc(files: CaseFiles, settings: Settings, reference: Segmentation, ignored: np.ndarray | None) -> dict[str, Any]:
    """Counts at each threshold, by target; empty where there are no probabilities.

    Raises:
        GeometryError: the probabilities are of another grid.
        OSError: they cannot be read.
    """
    if files.probabilities is None or not settings.froc:
        return {}
    probabilities = probabilities_of(files.probabilities, settings.targets, reference.array.shape)
    return {
        target.name: [
            comparison.counts
            for comparison in comparisons_by_threshold(
                probabilities[target.name],
                target.mask(reference.array),
                reference.spacing,
                settings.protocol,
                ignored,
            )
        ]
        for target in settings.targets
    }


def _collect(
    results: Sequence[Mapping[str, Any]], settings: Settings, about: Mapping[str, Any], warnings: Sequence[str]
) -> Evaluation:
    dimensions = {len(result["spacing"]) for result in results}
    if len(dimensions) > 1:
        raise EvaluationError("some cases are images and some are volumes: evaluate them apart.")
    unit: Unit = "mm" if any(result["unit"] == "mm" for result in results) else "px"
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
    lesions = [
        (result["files"].case, result["files"].fold, name, part)
        for result in results
        for name, parts in result["parts"].items()
        for part in parts
    ]
    size = len(results[0]["spacing"])
    summary = {
        "format": FORMAT,
        "made_by": f"nnunetv2_mamba {__version__}",
        "protocol": settings.protocol.as_dict(),
        "protocol_hash": settings.protocol.hash,
        "unit": unit,
        "dimensions": size,
        **about,
        "ignore_label": settings.ignore_label,
        "geometry": settings.geometry,
        "geometry_tolerance_voxels": TOLERANCE,
        "values": {str(old): new for old, new in settings.values.items()},
        "operating_points": settings.operating_points and settings.operating_points.as_dict(),
        "warnings": [*warnings, *(warning for result in results for warning in result["warnings"])],
        "metrics": {name: metric.as_dict(unit, size, settings.protocol) for name, metric in METRICS.items()},
        "targets": targets,
        "sensitivity": sensitivity_of(settings.sensitivity, settings.targets, sensitivity) or None,
        "cases": [_entry(result) for result in results],
        "rows": len(lesions),
    }
    return Evaluation(jsonable(summary), lesions)


def _entry(result: Mapping[str, Any]) -> dict[str, Any]:
    files: CaseFiles = result["files"]
    return {
        "case": files.case,
        "fold": files.fold,
        "reference_file": str(files.reference),
        "prediction_file": None if files.prediction is None else str(files.prediction),
        "stamp": result["stamp"],
        "spacing": list(result["spacing"]),
        "targets": result["targets"],
    }
