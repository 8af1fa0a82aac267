"""The file ``operating_point.json`` of a trained model, and predictions that are made with it."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnunetv2_mamba.evaluation.errors import EvaluationError
from nnunetv2_mamba.evaluation.folder import file_of
from nnunetv2_mamba.evaluation.froc import probabilities_of
from nnunetv2_mamba.evaluation.images import read_segmentation
from nnunetv2_mamba.evaluation.operating_point import OperatingPoint, OperatingPoints, decide
from nnunetv2_mamba.evaluation.protocol import Protocol
from nnunetv2_mamba.evaluation.targets import Target, targets_of
from nnunetv2_mamba.files import written_aside
from nnunetv2_mamba.folders.dataset import read_object, reader_for

FILE = "operating_point.json"
FORMAT = 1


def write_operating_points(file: Path, points: Mapping[str, OperatingPoint], about: Mapping[str, Any]) -> None:
    """Write the points of a model's targets.

    Args:
        file: the new file.
        points: by the name of the target.
        about: more entries: ``protocol``, whose connectivity is used, and what the points were fitted to.
    """
    content = {"format": FORMAT, **about, "targets": {name: vars(point) for name, point in points.items()}}
    with written_aside(file) as aside:
        aside.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_operating_points(path: Path, dataset: Mapping[str, Any] | None) -> OperatingPoints:
    """Points of a dataset's targets.

    Args:
        path: the file, or the folder of a model that has one.
        dataset: content of dataset.json; None for all points of the file, whatever dataset they are of.

    Raises:
        EvaluationError: it cannot be read, or does not fit the dataset.
    """
    file = path / FILE if path.is_dir() else path
    content = read_object(file)
    entries = content.get("targets")
    if content.get("format") != FORMAT or not isinstance(entries, dict):
        raise EvaluationError(f"{file} holds no operating points: write one with nnUNetv2_mamba calibrate.")
    targets = None if dataset is None else targets_of(dataset)
    names = list(entries) if targets is None else [target.name for target in targets]
    if missing := [name for name in names if name not in entries]:
        raise EvaluationError(
            f"{file} has no operating point for {', '.join(missing)}, only for {', '.join(entries)}: it is of another "
            "dataset."
        )
    try:
        points = {name: OperatingPoint(**entries[name]) for name in names}
        connectivity = Protocol.from_dict(content.get("protocol", {})).connectivity
    except (TypeError, ValueError) as error:
        raise EvaluationError(f"{file} has an operating point that is not valid: {error}") from error
    return OperatingPoints(points, connectivity, regions_class_order(dataset, targets))


def regions_class_order(dataset: Mapping[str, Any] | None, targets: Sequence[Target] | None) -> list[int] | None:
    """Label that nnU-Net paints each region with; None where the targets are labels."""
    if dataset is None or targets is None or all(len(target.labels) == 1 for target in targets):
        return None
    return list(map(int, dataset["regions_class_order"]))


def apply_to_folder(folder: Path, path: Path, *, since: float = 0.0, keep_probabilities: bool = True) -> int:
    """Decide the predictions of a folder again, from the probabilities beside them.

    Args:
        folder: that nnUNetv2_predict has written with ``--save_probabilities``.
        path: see `read_operating_points`.
        since: only cases whose probabilities were written after this time, in seconds since the epoch.
        keep_probabilities: whether the files of these cases stay.

    Returns:
        Number of predictions.

    Raises:
        EvaluationError: the operating points cannot be read or do not fit, or no prediction has probabilities.
        GeometryError: probabilities are of another grid.
        OSError: a file cannot be read.
    """
    dataset, plans = read_object(folder / "dataset.json"), read_object(folder / "plans.json")
    targets, ending = targets_of(dataset), dataset["file_ending"]
    operating, reader = read_operating_points(path, dataset), _reader(dataset, plans)
    files = [file for file in sorted(folder.glob("*.npz")) if file.stat().st_mtime >= since]
    found = {file: prediction for file in files if (prediction := file_of(folder, file.stem, ending))}
    if not found:
        raise EvaluationError(f"{folder} has no probabilities beside predictions: predict with --save_probabilities.")
    for probabilities, prediction in found.items():
        predicted, (_, properties) = read_segmentation(reader, prediction), reader.read_seg(str(prediction))
        channels = probabilities_of(probabilities, targets, predicted.array.shape)
        labels = decide(channels, targets, operating, spacing=predicted.spacing)
        # A writer goes by the ending of the name; a case is replaced as a whole.
        aside = prediction.with_name(f".{prediction.name[: -len(ending)]}.partial{ending}")
        reader.write_seg(_in_slices(labels), str(aside), properties)
        os.replace(aside, prediction)
        if not keep_probabilities:
            probabilities.unlink()
            probabilities.with_suffix(".pkl").unlink(missing_ok=True)
    return len(found)


def _reader(dataset: Mapping[str, Any], plans: Mapping[str, Any]) -> Any:
    return reader_for(dataset, plans, None)


def _in_slices(labels: np.ndarray) -> np.ndarray:
    """Labels as nnU-Net's writers want them (z, y, x); an image is one slice."""
    stacked = labels if labels.ndim == 3 else labels[None]
    return stacked.astype(np.uint8 if stacked.max(initial=0) < 256 else np.uint16)
