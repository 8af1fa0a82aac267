"""The file ``operating_point.json`` of a trained model, and predictions that are made with it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnunetv2_mamba.evaluation.errors import EvaluationError
from nnunetv2_mamba.evaluation.folder import file_of
from nnunetv2_mamba.evaluation.froc import probabilities_of
from nnunetv2_mamba.evaluation.images import read_segmentation
from nnunetv2_mamba.evaluation.operating_point import OperatingPoint, decide
from nnunetv2_mamba.evaluation.targets import Target, targets_of
from nnunetv2_mamba.files import written_aside
from nnunetv2_mamba.folders.dataset import case_names, read_object, reader_for

FILE = "operating_point.json"
FORMAT = 1


def write_operating_points(file: Path, points: Mapping[str, OperatingPoint], about: Mapping[str, Any]) -> None:
    """Write the points of a model's targets.

    Args:
        file: the new file.
        points: by the name of the target.
        about: more entries, such as what the points were fitted to.
    """
    content = {"format": FORMAT, **about, "targets": {name: vars(point) for name, point in points.items()}}
    with written_aside(file) as aside:
        aside.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_operating_points(path: Path, targets: Sequence[Target]) -> dict[str, OperatingPoint]:
    """Points of a dataset's targets.

    Args:
        path: the file, or the folder of a model that has one.
        targets: of the dataset.

    Raises:
        EvaluationError: it cannot be read, or does not fit the dataset.
    """
    file = path / FILE if path.is_dir() else path
    content = read_object(file)
    entries = content.get("targets")
    if content.get("format") != FORMAT or not isinstance(entries, dict):
        raise EvaluationError(f"{file} holds no operating points: write one with nnUNetv2_mamba calibrate.")
    if missing := [target.name for target in targets if target.name not in entries]:
        raise EvaluationError(
            f"{file} has no operating point for {', '.join(missing)}, only for {', '.join(entries)}: it is of another "
            "dataset."
        )
    try:
        return {target.name: OperatingPoint(**entries[target.name]) for target in targets}
    except (TypeError, ValueError) as error:
        raise EvaluationError(f"{file} has an operating point that is not valid: {error}") from error


def painted_labels(dataset: Mapping[str, Any], targets: Sequence[Target]) -> list[int] | None:
    """Label that nnU-Net paints each region with; None where the targets are labels."""
    regions = any(len(target.labels) > 1 for target in targets)
    return list(map(int, dataset["regions_class_order"])) if regions else None


def apply_to_folder(folder: Path, path: Path, *, keep_probabilities: bool) -> int:
    """Decide the predictions of a folder again, from the probabilities beside them.

    Args:
        folder: that nnUNetv2_predict has written with ``--save_probabilities``.
        path: see `read_operating_points`.
        keep_probabilities: whether their files stay.

    Returns:
        Number of predictions.

    Raises:
        EvaluationError: the operating points cannot be read, or a prediction has no probabilities.
        GeometryError: probabilities are of another grid.
        OSError: a file cannot be read.
    """
    dataset, plans = read_object(folder / "dataset.json"), read_object(folder / "plans.json")
    targets, ending = targets_of(dataset), dataset["file_ending"]
    points, painted = read_operating_points(path, targets), painted_labels(dataset, targets)
    reader: Any = reader_for(dataset, plans, None)
    names = [name for name in case_names(folder, ending) if (folder / f"{name}.npz").is_file()]
    if not names:
        raise EvaluationError(f"{folder} has no probabilities beside predictions: predict with --save_probabilities.")
    for name in names:
        file = file_of(folder, name, ending)
        assert file is not None
        predicted, (_, properties) = read_segmentation(reader, file), reader.read_seg(str(file))
        found = probabilities_of(folder / f"{name}.npz", targets, predicted.array.shape)
        labels = decide(found, targets, points, spacing=predicted.spacing, painted=painted)
        reader.write_seg(_in_slices(labels), str(file), properties)
        if not keep_probabilities:
            (folder / f"{name}.npz").unlink()
            (folder / f"{name}.pkl").unlink(missing_ok=True)
    return len(names)


def _in_slices(labels: np.ndarray) -> np.ndarray:
    """Labels as nnU-Net's writers want them (z, y, x); an image is one slice."""
    stacked = labels if labels.ndim == 3 else labels[None]
    return stacked.astype(np.uint8 if stacked.max(initial=0) < 256 else np.uint16)
