"""Where the cases of a trained model, or of a folder of predictions, have their files."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunetv2_mamba.evaluation.errors import EvaluationError
from nnunetv2_mamba.evaluation.folder import CaseFiles
from nnunetv2_mamba.evaluation.images import SegmentationReader
from nnunetv2_mamba.evaluation.targets import Target, ignore_label_of, targets_of
from nnunetv2_mamba.folders.dataset import case_names, read_json, read_object, reader_for


@dataclass(frozen=True)
class EvaluationInput:
    """Everything that an evaluation needs to know of a trained model or a folder of predictions.

    Attributes:
        folder: of the model or of the predictions; results go there unless something else is said.
        cases: files of every case.
        reader: of nnU-Net, for these files.
        dataset: content of dataset.json.
        about: folders and folds, for the summary.
    """

    folder: Path
    cases: list[CaseFiles]
    reader: SegmentationReader
    dataset: dict[str, Any]
    about: dict[str, Any]

    @property
    def targets(self) -> list[Target]:
        """Labels or regions that are evaluated."""
        return targets_of(self.dataset)

    @property
    def ignore_label(self) -> int | None:
        """Value of voxels that count for nothing."""
        return ignore_label_of(self.dataset)


def is_model(folder: Path) -> bool:
    """Whether this is the folder of a trained model, with its folds below it."""
    return any(folder.glob("fold_*"))


def predictions(
    prediction: Path,
    reference: Path,
    dataset_file: Path | None = None,
    plans_file: Path | None = None,
    images: Path | None = None,
) -> EvaluationInput:
    """A folder of predictions and one of references; every reference is a case.

    Args:
        prediction: folder that nnUNetv2_predict has written.
        reference: folder of the reference segmentations.
        dataset_file: dataset.json; that beside the predictions unless given.
        plans_file: plans.json; that beside the predictions unless given, and none where there is none.
        images: folder of the images, for pictures.

    Raises:
        EvaluationError: a folder or file is not there.
    """
    for folder in (prediction, reference):
        if not folder.is_dir():
            raise EvaluationError(f"{folder} is not a folder: name one that holds segmentations.")
    dataset = _dataset(dataset_file or prediction / "dataset.json")
    if plans_file is None and (prediction / "plans.json").is_file():
        plans_file = prediction / "plans.json"
    plans = None if plans_file is None else read_json(plans_file)
    ending = dataset["file_ending"]
    names = case_names(reference, ending)
    if not names:
        raise EvaluationError(f"{reference} holds no file that ends with {ending}, as dataset.json says: check both.")
    cases = [CaseFiles.within(name, reference, prediction, ending) for name in names]
    stray = sorted(set(case_names(prediction, ending)) - set(names))
    if stray:
        few = ", ".join(stray[:5])
        raise EvaluationError(f"{len(stray)} predictions have no reference in {reference} ({few}): move them away.")
    return EvaluationInput(
        folder=prediction,
        cases=cases,
        reader=reader_for(dataset, plans, cases[0].reference if cases else None),
        dataset=dataset,
        about=_about(reference, prediction, images, None),
    )


def trained_model(
    folder: Path, folds: Sequence[str] | None = None, reference: Path | None = None, images: Path | None = None
) -> EvaluationInput:
    """The cases that the networks of a cross-validation have predicted without having been trained on them.

    Args:
        folder: of the trained model, below nnUNet_results.
        folds: which; all that have been validated unless given.
        reference: folder of the reference segmentations; nnU-Net's own unless given.
        images: folder of the images, for pictures; that of the raw dataset unless given.

    Raises:
        EvaluationError: a fold has not been validated, a case is in two folds, or a folder is not there.
    """
    if not is_model(folder):
        raise EvaluationError(f"{folder} is not the folder of a trained model, it has no fold_0, ...: check the name.")
    dataset, plans = _dataset(folder / "dataset.json"), read_json(folder / "plans.json")
    ending, name = dataset["file_ending"], plans["dataset_name"]
    validations = _validations(folder, folds)
    reference = reference or _existing(
        _below("nnUNet_raw", name, "labelsTr"), _below("nnUNet_preprocessed", name, "gt_segmentations")
    )
    if reference is None:
        raise EvaluationError(
            f"the references of {name} are neither in nnUNet_raw nor in nnUNet_preprocessed: set these variables, or "
            "name their folder with -ref."
        )
    cases: dict[str, CaseFiles] = {}
    for fold, validation in validations.items():
        number = int(fold) if fold.isdigit() else None
        for case in _validated(validation, ending, name, number):
            if case in cases:
                raise EvaluationError(f"{case} is in fold {fold} and in one before it: choose folds with -f.")
            cases[case] = CaseFiles.within(case, reference, validation, ending, number)
            if not cases[case].reference.is_file():
                raise EvaluationError(f"{cases[case].reference} is not there: name the folder of references with -ref.")
    if images is None:
        images = _existing(_below("nnUNet_raw", name, "imagesTr"))
    return EvaluationInput(
        folder=folder,
        cases=list(cases.values()),
        reader=reader_for(dataset, plans, next(iter(cases.values())).reference if cases else None),
        dataset=dataset,
        about=_about(reference, folder, images, [int(fold) if fold.isdigit() else fold for fold in validations]),
    )


def _validations(folder: Path, folds: Sequence[str] | None) -> dict[str, Path]:
    """Validation folder of each fold."""
    if folds is None:
        validated = folder.glob("fold_*/validation/summary.json")
        found = sorted(path.parent.parent.name.removeprefix("fold_") for path in validated)
        # The network of fold "all" was trained on the cases that it predicts.
        folds = [fold for fold in found if fold != "all"] or found
        if not folds:
            raise EvaluationError(f"no fold of {folder} has been validated: finish its training, or run it with --val.")
    validations = {fold: folder / f"fold_{fold}" / "validation" for fold in folds}
    for fold, validation in validations.items():
        if not validation.is_dir():
            raise EvaluationError(f"fold {fold} of {folder} has not been validated: run nnUNetv2_train with --val.")
    return validations


def _validated(validation: Path, ending: str, dataset: str, fold: int | None) -> list[str]:
    """Cases that the validation of a fold consists of, predicted or not where nnU-Net's splits are at hand."""
    splits = _below("nnUNet_preprocessed", dataset, "splits_final.json")
    if fold is not None and splits is not None and splits.is_file():
        every = read_json(splits)
        if fold < len(every):
            return sorted(every[fold]["val"])
    return case_names(validation, ending)


def _about(reference: Path, prediction: Path, images: Path | None, folds: list[int | str] | None) -> dict[str, Any]:
    return {
        "reference_folder": str(reference.absolute()),
        "prediction_folder": str(prediction.absolute()),
        "image_folder": None if images is None else str(images.absolute()),
        "folds": folds,
        "trained_on_cases": folds is not None and "all" in folds,
    }


def _dataset(path: Path) -> dict[str, Any]:
    try:
        dataset = read_object(path)
    except EvaluationError as error:
        raise EvaluationError(
            f"{error} nnU-Net writes dataset.json beside its predictions; else name it with -djfile."
        ) from error
    if missing := [key for key in ("labels", "file_ending") if key not in dataset]:
        raise EvaluationError(f"{path} has no {' and no '.join(missing)}: name a dataset.json of nnU-Net v2.")
    return dataset


def _below(variable: str, *parts: str) -> Path | None:
    folder = os.environ.get(variable)
    return Path(folder, *parts) if folder else None


def _existing(*paths: Path | None) -> Path | None:
    return next((path for path in paths if path is not None and path.exists()), None)
