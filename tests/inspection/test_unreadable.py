"""Datasets that ``nnUNetv2_mamba inspect`` cannot read: one sentence and no traceback."""

import json
import struct
from pathlib import Path

import nibabel
import numpy as np
import pytest

from nnunetv2_mamba import cli
from nnunetv2_mamba.inspection.inspected import Inspected

VOLUME = np.zeros((7, 6, 4), np.uint8)
VOLUME[1:4, 1:4, 1:3] = 1
LABELS = {"background": 0, "lesion": 1}
DESCRIPTION = {"labels": LABELS, "file_ending": ".nii", "overwrite_image_reader_writer": "NibabelIO"}

FIRST_WIDTH_AT = 80
"""Where a header of NIfTI-1 has the width of a voxel along the first axis."""


@pytest.fixture
def raw(tmp_path, monkeypatch) -> Path:
    """A raw dataset with one case."""
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    raw = tmp_path / "nnUNet_raw" / "Dataset009_Odd"
    (raw / "labelsTr").mkdir(parents=True)
    (raw / "dataset.json").write_text(json.dumps(DESCRIPTION))
    nibabel.save(nibabel.Nifti1Image(VOLUME, np.eye(4)), raw / "labelsTr" / "case.nii")
    return raw


def refusal(raw: Path, dataset: str = "9") -> str:
    """What inspect says; fails where it ends in any other way."""
    with pytest.raises(SystemExit) as stop:
        cli.main(["inspect", "-d", dataset, "-np", "1", "-o", str(raw.parent.parent / "out")])
    sentence = str(stop.value.code)
    assert sentence.startswith("nnUNetv2_mamba inspect: ")
    assert "\n" not in sentence
    return sentence


@pytest.mark.parametrize("width", [np.nan, np.inf])
def test_a_voxel_without_a_size(raw, width):
    file = raw / "labelsTr" / "case.nii"
    content = bytearray(file.read_bytes())
    struct.pack_into("<f", content, FIRST_WIDTH_AT, width)
    file.write_bytes(content)
    assert f"{file} has voxels with the spacing (1.0, 1.0, {width}): " in refusal(raw)


@pytest.mark.parametrize(
    ("description", "words"),
    [
        (3, "dataset.json does not hold an object"),
        ([], "dataset.json does not hold an object"),
        (DESCRIPTION | {"labels": ["background", "lesion"]}, "labels are ['background', 'lesion']"),
        (DESCRIPTION | {"labels": None}, "labels are None"),
        (DESCRIPTION | {"labels": LABELS | {"lesion": []}}, "the label lesion is []"),
        (DESCRIPTION | {"labels": LABELS | {"lesion": float("inf")}}, "the label lesion is inf"),
        (DESCRIPTION | {"labels": LABELS | {"ignore": [2]}}, "the label ignore is [2]"),
        (DESCRIPTION | {"dataset": {}}, "names no case"),
        (DESCRIPTION | {"dataset": []}, "names no case"),
        (DESCRIPTION | {"dataset": {"case": {"images": []}}}, "names no label file of the case case"),
        (DESCRIPTION | {"dataset": {"case": 3}}, "names no label file of the case case"),
    ],
)
def test_a_description_that_is_something_else(raw, description, words):
    (raw / "dataset.json").write_text(json.dumps(description))
    assert words in refusal(raw)


def test_a_digit_that_is_not_a_number_is_a_name(raw):
    assert "there is no ²" in refusal(raw, "²")


def test_what_a_part_of_it_refuses_as_a_value(raw, monkeypatch):
    def refuse(*_, **__):
        raise ValueError("this value is 3: write 4.")

    monkeypatch.setattr(Inspected, "report", refuse)
    assert refusal(raw) == "nnUNetv2_mamba inspect: this value is 3: write 4."


@pytest.mark.parametrize(
    ("splits", "sentence"),
    [
        ({"train": [], "val": []}, "is not a list of folds, each with the names of its cases under train and val"),
        ([{"train": ["case"]}], "is not a list of folds"),
        ([["case"]], "is not a list of folds"),
        ([{"train": ["case"], "val": "case"}], "is not a list of folds"),
    ],
)
def test_splits_that_are_no_folds(raw, splits, sentence):
    (raw / "splits_final.json").write_text(json.dumps(splits))
    assert sentence in refusal(raw)


@pytest.mark.parametrize("plans", [[], {"plans_name": "nnUNetPlans"}, {"configurations": {}}, {"configurations": []}])
def test_plans_without_configurations(raw, tmp_path, plans):
    folder = tmp_path / "nnUNet_preprocessed" / raw.name
    folder.mkdir(parents=True)
    (folder / "nnUNetPlans.json").write_text(json.dumps(plans))
    assert "nnUNetPlans.json" in refusal(raw)
