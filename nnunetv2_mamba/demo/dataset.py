"""The sample that ships with the package: 128x128 crops of fundus photographs with hard exudates and haemorrhages."""

import json
import os
import shutil
from pathlib import Path

SAMPLE = Path(__file__).with_name("sample")
DATASET_ID = "001"
DATASET_NAME = f"Dataset{DATASET_ID}_FundusLesions"
EYES_PER_FOLD = 2


def copy_sample(nnunet_raw: Path) -> Path:
    """Copies the sample into nnU-Net's folder of raw datasets; an existing dataset is not changed.

    Args:
        nnunet_raw: nnU-Net's folder of raw datasets; made if it does not exist.

    Returns:
        Folder of the dataset.
    """
    dataset = nnunet_raw / DATASET_NAME
    if not dataset.exists():
        # Renamed into place when complete, so that an interrupted copy is never taken for a dataset.
        unfinished = nnunet_raw / f".{DATASET_NAME}.{os.getpid()}"
        shutil.copytree(SAMPLE, unfinished)
        unfinished.rename(dataset)
    return dataset


def eye_of(case: str) -> str:
    """Eye that a case was cut from: ``IDRiD_01`` for ``IDRiD_01_y0136_x0496_r224c160``."""
    return "_".join(case.split("_")[:2])


def cases_in(labels: Path) -> list[str]:
    """Case names in a folder of label images, in order."""
    return sorted(file.stem for file in labels.glob("*.png"))


def splits_by_eye(cases: list[str]) -> list[dict[str, list[str]]]:
    """Cross-validation folds in the format of nnU-Net's ``splits_final.json``, no eye in both train and val.

    Neighbouring numbers share a fold, because IDRiD_15 and IDRiD_16 look like the two eyes of one patient. nnU-Net's
    own split would put crops of one eye on both sides.

    Args:
        cases: case names, each starting with its eye.

    Returns:
        One dictionary per fold with the keys ``train`` and ``val``.
    """
    eyes = sorted({eye_of(case) for case in cases})
    folds = []
    for start in range(0, len(eyes), EYES_PER_FOLD):
        held_out = eyes[start : start + EYES_PER_FOLD]
        folds.append(
            {
                "train": [case for case in cases if eye_of(case) not in held_out],
                "val": [case for case in cases if eye_of(case) in held_out],
            }
        )
    return folds


def write_splits(dataset: Path, preprocessed: Path) -> Path:
    """Writes ``splits_final.json`` for a raw dataset into its folder of preprocessed data."""
    file = preprocessed / "splits_final.json"
    file.write_text(json.dumps(splits_by_eye(cases_in(dataset / "labelsTr")), indent=2) + "\n")
    return file
