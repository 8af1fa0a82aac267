"""Where a dataset has its labels, plans and preprocessed cases, and what they say."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunetv2_mamba.evaluation.errors import EvaluationError
from nnunetv2_mamba.evaluation.folder import SIBLINGS, file_of
from nnunetv2_mamba.evaluation.images import SegmentationReader


@dataclass(frozen=True)
class Dataset:
    """A dataset of nnU-Net, raw or preprocessed or both.

    Attributes:
        name: such as Dataset001_Liver.
        raw: its folder of nnUNet_raw; None where there is none.
        preprocessed: its folder of nnUNet_preprocessed; None where there is none.
    """

    name: str
    raw: Path | None
    preprocessed: Path | None

    @classmethod
    def find(cls, name_or_id: str) -> "Dataset":
        """Look where nnU-Net looks.

        Raises:
            EvaluationError: there is no such dataset, or several.
        """
        from nnunetv2.utilities.dataset_name_id_conversion import find_candidate_datasets

        places = {variable: os.environ.get(variable) for variable in ("nnUNet_raw", "nnUNet_preprocessed")}
        said = ", ".join(f"{variable}={place or 'not set'}" for variable, place in places.items())
        if name_or_id.isdecimal():
            names = list(map(str, find_candidate_datasets(int(name_or_id))))
            if len(names) > 1:
                raise EvaluationError(f"dataset {name_or_id} is {' and '.join(names)}: say which with -d NAME.")
            name = names[0] if names else f"dataset {name_or_id}"
        else:
            name = name_or_id
        folders = [Path(place, name) if place else None for place in places.values()]
        raw, preprocessed = (folder if folder and folder.is_dir() else None for folder in folders)
        if raw is None and preprocessed is None:
            raise EvaluationError(f"there is no {name}, raw or preprocessed ({said}): check -d and these variables.")
        return cls(name, raw, preprocessed)

    def description(self) -> dict[str, Any]:
        """Content of dataset.json; the raw one, of which nnU-Net makes the other.

        Raises:
            EvaluationError: it cannot be read, or does not say enough.
        """
        file = next(folder for folder in (self.raw, self.preprocessed) if folder) / "dataset.json"
        description = read_object(file)
        if missing := [key for key in ("labels", "file_ending") if key not in description]:
            raise EvaluationError(f"{file} lacks {' and '.join(missing)}: write it as nnU-Net's documentation says.")
        return description

    def label_files(self, description: Mapping[str, Any]) -> tuple[Path, dict[str, Path]] | None:
        """Folder of the annotations and their files by case; None where only preprocessed cases are left.

        Args:
            description: content of dataset.json.

        Raises:
            EvaluationError: a training image has no annotation, or two files of it; or the cases that dataset.json
                lists have no label files there.
        """
        ending = description["file_ending"]
        if self.raw is not None and "dataset" in description:
            return self.raw, _existing(_listed_files(self.raw, description["dataset"]))
        if self.raw is not None and (labelled := case_names(self.raw / "labelsTr", ending)):
            labels, images = self.raw / "labelsTr", case_names(self.raw / "imagesTr", ending)
            # nnU-Net's cases are its images; without any, labels alone can be inspected too.
            cases = {image[: -len("_0000")] for image in images} or labelled
            return labels, _existing(_files(labels, cases, ending))
        if self.preprocessed is not None:
            kept = self.preprocessed / "gt_segmentations"
            if labelled := case_names(kept, ending):
                return kept, _files(kept, labelled, ending)
        return None

    def plans(self, name: str | None) -> dict[str, Any] | None:
        """Content of a plans file.

        Args:
            name: without ``.json``; None for nnUNetPlans, if there are any.

        Raises:
            EvaluationError: it cannot be read or has no configurations, or a named one does not exist.
        """
        file = None if self.preprocessed is None else self.preprocessed / f"{name or 'nnUNetPlans'}.json"
        if file is not None and file.is_file():
            plans = read_object(file)
            if not isinstance(plans.get("configurations"), dict) or not plans["configurations"]:
                raise EvaluationError(f"{file} has no configurations: plan again with nnUNetv2_plan_experiment.")
            return plans
        if name is not None:
            raise EvaluationError(f"{name} of {self.name} does not exist: run nnUNetv2_plan_experiment, or change -p.")
        return None

    def splits(self, cases: Sequence[str]) -> tuple[list[dict[str, list[str]]], bool]:
        """Folds of the cross-validation, and whether they are those of splits_final.json.

        Args:
            cases: all there are, of which nnU-Net makes folds where nobody else has; fewer than five give none.

        Raises:
            EvaluationError: splits_final.json cannot be read, or holds something else.
        """
        # nnU-Net copies that of the raw dataset when it plans.
        for folder in (self.preprocessed, self.raw):
            if folder is not None and (folder / "splits_final.json").is_file():
                return _read_splits(folder / "splits_final.json"), True
        from nnunetv2.utilities.crossval_split import generate_crossval_split

        return (generate_crossval_split(sorted(cases)) if len(cases) >= 5 else []), False


def reader_for(
    description: Mapping[str, Any], plans: Mapping[str, Any] | None, example: Path | None
) -> SegmentationReader:
    """The reader that nnU-Net chose when it planned, or would choose now.

    Args:
        description: content of dataset.json.
        plans: content of the plans file; None where there is none.
        example: one of the label files; None where there is none.

    Raises:
        EvaluationError: nnU-Net has no reader for such files.
    """
    from nnunetv2.imageio.reader_writer_registry import (
        determine_reader_writer_from_dataset_json,
        recursive_find_reader_writer_by_name,
    )

    try:
        if plans is not None and "image_reader_writer" in plans:
            return recursive_find_reader_writer_by_name(plans["image_reader_writer"])()
        example_file = None if example is None else str(example)
        return determine_reader_writer_from_dataset_json(dict(description), example_file, verbose=False)()
    except RuntimeError as error:
        raise EvaluationError(f"nnU-Net has no reader for {example or 'such files'}: {error}") from error


def read_json(path: Path) -> Any:
    """Content of a JSON file.

    Raises:
        EvaluationError: it cannot be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EvaluationError(f"{path} cannot be read: {error}.") from error


def _read_splits(path: Path) -> list[dict[str, list[str]]]:
    folds = read_json(path)
    if not isinstance(folds, list) or not all(map(_is_fold, folds)):
        raise EvaluationError(
            f"{path} is not a list of folds, each with the names of its cases under train and val: correct it, or "
            "delete it for nnU-Net's own folds."
        )
    return folds


def _is_fold(fold: Any) -> bool:
    return isinstance(fold, dict) and all(isinstance(fold.get(part), list) for part in ("train", "val"))


def read_object(path: Path) -> dict[str, Any]:
    """Content of a JSON file that holds an object.

    Raises:
        EvaluationError: it cannot be read, or holds something else.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise EvaluationError(
            f"{path} does not hold an object with names and values: write it as nnU-Net's documentation says."
        )
    return content


def case_names(folder: Path, ending: str) -> list[str]:
    """Names of the files in a folder without their ending, compressed or not.

    Args:
        folder: that is searched; one that does not exist has no files.
        ending: that dataset.json names.
    """
    endings = [ending, *([SIBLINGS[ending]] if ending in SIBLINGS else [])]
    names = {path.name.removesuffix(each) for each in endings for path in folder.glob(f"*{each}")}
    # macOS leaves others that begin with a dot.
    return sorted(name for name in names if not name.startswith("."))


def _files(folder: Path, cases: Iterable[str], ending: str) -> dict[str, Path]:
    """Files of cases, with the name that dataset.json gives them where there are none."""
    return {case: file_of(folder, case, ending) or folder / f"{case}{ending}" for case in sorted(cases)}


def _listed_files(raw: Path, listed: Any) -> dict[str, Path]:
    """Files of the cases that dataset.json lists itself, under its key ``dataset``."""
    where = f"{raw / 'dataset.json'} has the key dataset, which"
    if not isinstance(listed, dict) or not listed:
        raise EvaluationError(f"{where} names no case: write it as nnU-Net's documentation says, or take it out.")
    for case, entry in listed.items():
        if not isinstance(entry, dict) or not isinstance(entry.get("label"), str):
            raise EvaluationError(f"{where} names no label file of the case {case}: add it under label.")
    return {case: raw / os.path.expandvars(entry["label"]) for case, entry in sorted(listed.items())}


def _existing(files: dict[str, Path]) -> dict[str, Path]:
    missing = [str(file) for file in files.values() if not file.is_file()]
    if missing:
        raise EvaluationError(
            f"{len(missing)} of {len(files)} training cases have no labels ({', '.join(missing[:3])}): add the files, "
            "or take the images out of imagesTr."
        )
    return files
