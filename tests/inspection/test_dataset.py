"""Label files of a dataset, called as dataset.json says or compressed where it does not say so, and the reverse."""

from pathlib import Path

import pytest

from nnunetv2_mamba.evaluation.errors import EvaluationError
from nnunetv2_mamba.folders.dataset import Dataset, case_names

BOTH = pytest.mark.parametrize(("declared", "there"), [(".nii.gz", ".nii"), (".nii", ".nii.gz")])


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def found(tmp_path: Path, ending: str) -> dict[str, str]:
    """Names of the label files by case."""
    folders = [folder if folder.is_dir() else None for folder in (tmp_path / "raw", tmp_path / "preprocessed")]
    labels = Dataset("Dataset001_Liver", *folders).label_files({"file_ending": ending})
    assert labels is not None
    return {case: path.relative_to(labels[0]).as_posix() for case, path in labels[1].items()}


@BOTH
def test_labels_of_images_may_have_the_other_ending(tmp_path, declared, there):
    touch(tmp_path / "raw" / "imagesTr", f"b_0000{declared}", f"b_0001{declared}", f"a_0000{declared}")
    touch(tmp_path / "raw" / "labelsTr", f"a{there}", f"b{declared}")
    assert found(tmp_path, declared) == {"a": f"a{there}", "b": f"b{declared}"}


@BOTH
def test_so_may_images_and_labels(tmp_path, declared, there):
    touch(tmp_path / "raw" / "imagesTr", f"a_0000{there}")
    touch(tmp_path / "raw" / "labelsTr", f"a{there}", f"stray{there}")
    assert found(tmp_path, declared) == {"a": f"a{there}"}


@BOTH
def test_so_may_labels_without_images_and_those_that_nnunet_kept(tmp_path, declared, there):
    labels = touch(tmp_path / "raw" / "labelsTr", f"a{there}", f"b{declared}", f"._a{there}")
    assert found(tmp_path, declared) == {"a": f"a{there}", "b": f"b{declared}"}
    (tmp_path / "preprocessed").mkdir()
    labels.rename(tmp_path / "preprocessed" / "gt_segmentations")
    assert found(tmp_path, declared) == {"a": f"a{there}", "b": f"b{declared}"}


def test_two_files_of_a_case_are_refused(tmp_path):
    touch(tmp_path / "raw" / "labelsTr", "a.nii", "a.nii.gz")
    with pytest.raises(
        EvaluationError, match=r"has two files of the case a, a\.nii\.gz and a\.nii: remove one of them"
    ):
        found(tmp_path, ".nii.gz")


@BOTH
def test_a_missing_file_has_the_name_that_dataset_json_gives_it(tmp_path, declared, there):
    touch(tmp_path / "raw" / "imagesTr", f"a_0000{declared}", f"b_0000{declared}")
    touch(tmp_path / "raw" / "labelsTr", f"a{there}")
    with pytest.raises(
        EvaluationError, match=rf"1 of 2 training cases have no labels \(.*/b{declared}\): add the files"
    ):
        found(tmp_path, declared)


def test_other_endings_have_no_other_one(tmp_path):
    folder = touch(tmp_path, "a.png", "b.png.gz", "c.nii", ".d.png")
    assert case_names(folder, ".png") == ["a"]
    assert case_names(tmp_path / "nowhere", ".png") == []
