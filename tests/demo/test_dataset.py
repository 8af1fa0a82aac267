"""Copying the sample and splitting it by eye."""

import json

from nnunetv2_mamba.demo.dataset import SAMPLE, cases_in, copy_sample, eye_of, splits_by_eye, write_splits


def test_copy_is_complete(tmp_path):
    dataset = copy_sample(tmp_path / "nnUNet_raw")
    copied = {file.relative_to(dataset): file.read_bytes() for file in dataset.rglob("*") if file.is_file()}
    assert copied == {file.relative_to(SAMPLE): file.read_bytes() for file in SAMPLE.rglob("*") if file.is_file()}
    assert [path.name for path in dataset.parent.iterdir()] == [dataset.name]


def test_copy_leaves_an_existing_dataset_alone(tmp_path):
    dataset = copy_sample(tmp_path)
    (dataset / "dataset.json").write_text("edited")
    assert copy_sample(tmp_path) == dataset
    assert (dataset / "dataset.json").read_text() == "edited"


def test_no_eye_on_both_sides_and_every_case_validated_once():
    cases = cases_in(SAMPLE / "labelsTr")
    folds = splits_by_eye(cases)
    assert sorted(case for fold in folds for case in fold["val"]) == cases
    for fold in folds:
        assert sorted(fold["train"] + fold["val"]) == cases
        assert not {eye_of(case) for case in fold["train"]} & {eye_of(case) for case in fold["val"]}


def test_eyes_of_one_patient_share_a_fold():
    for fold in splits_by_eye(cases_in(SAMPLE / "labelsTr")):
        validated = {eye_of(case) for case in fold["val"]}
        assert ("IDRiD_15" in validated) == ("IDRiD_16" in validated)


def test_splits_are_written_for_the_training_cases(tmp_path):
    folds = json.loads(write_splits(SAMPLE, tmp_path).read_text())
    assert folds == splits_by_eye(cases_in(SAMPLE / "labelsTr"))
    assert (tmp_path / "splits_final.json").exists()
