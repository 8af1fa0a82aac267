"""The lesion-wise report of the validation cases: beside nnU-Net's own files, and never at the cost of the training."""

import csv
import errno
import json
from concurrent.futures.process import BrokenProcessPool
from importlib import import_module
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import SimpleITK
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name
from PIL import Image

from nnunetv2_mamba.evaluation import folder
from nnunetv2_mamba.evaluation.protocol import Protocol
from nnunetv2_mamba.plugin import trainer_names
from nnunetv2_mamba.training.records.lesion_report import REPORT_FILES, LesionReportMixin
from nnunetv2_mamba.training.robust_trainer import RobustTrainer
from tests.training.conftest import toy_plans

DATASET = "Dataset999_Toy"
DATASET_JSON = {"channel_names": {"0": "noNorm"}, "labels": {"background": 0, "blob": 1}, "file_ending": ".png"}
# "a" and "b" are validated in fold 0. Of "a" one lesion is detected, one is missed, and there is a false positive.
DRAWN = {
    "a": """
        ##......
        ##......
        ......#.
        ........
    """,
    "b": """
        ........
        ........
        ........
        ........
    """,
    "c": """
        #.......
        ........
        ........
        ........
    """,
}
PREDICTED = {
    "a": """
        .#......
        ##......
        ........
        ...#....
    """,
    "b": """
        ........
        ........
        ........
        ........
    """,
}
SUMMARY = b'{"foreground_mean": "of nnU-Net"}'


def write(path: Path, drawing: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [[character == "#" for character in line] for line in drawing.split()]
    Image.fromarray(np.array(rows, np.uint8)).save(path)


class Validated(nnUNetTrainer):
    """Leaves what nnU-Net leaves of a validation, without a network."""

    predicted: ClassVar = PREDICTED
    probabilities: ClassVar = ()

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        validation = Path(self.output_folder, "validation")
        for case, drawing in self.predicted.items():
            write(validation / f"{case}.png", drawing)
        if self.local_rank == 0:
            (validation / "summary.json").write_bytes(SUMMARY)


class Reporting(LesionReportMixin, Validated):
    pass


def write_volume(path: Path, origin: float) -> None:
    volume = np.zeros((3, 4, 8), np.uint8)
    volume[1, :2, :2] = 1
    image = SimpleITK.GetImageFromArray(volume)
    image.SetOrigin((origin, 5.0, 5.0))
    path.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(image, str(path))


class ValidatedElsewhere(Validated):
    """Predicts volumes whose headers are 2 mm away from those of the labels."""

    predicted: ClassVar = {}

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        self.dataset_json = {**DATASET_JSON, "file_ending": ".nii.gz"}
        for case in PREDICTED:
            write_volume(Path(self.preprocessed_dataset_folder_base, "gt_segmentations", f"{case}.nii.gz"), 5.0)
            write_volume(validation(self) / f"{case}.nii.gz", 7.0)
        super().perform_actual_validation(save_probabilities)


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Trainers of a class on three images with lesions, two of which are validated in fold 0."""
    preprocessed = tmp_path / "preprocessed" / DATASET
    for case, drawing in DRAWN.items():
        write(preprocessed / "gt_segmentations" / f"{case}.png", drawing)
        (preprocessed / "toy").mkdir(exist_ok=True)
        (preprocessed / "toy" / f"{case}.b2nd").touch()
    (preprocessed / "splits_final.json").write_text(json.dumps([{"train": ["c"], "val": ["b", "a"]}]))
    for name in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"nnUNet_{name}", str(tmp_path / name))

    def trainer(trainer_class: type[nnUNetTrainer] = Reporting, fold: int | str = 0, **plans) -> nnUNetTrainer:
        further = {"image_reader_writer": "NaturalImage2DIO", "original_median_shape_after_transp": [1, 4, 8], **plans}
        whole = {**toy_plans([(1, 1)], (4, 8)), **further, "continue_training": False}
        return trainer_class(whole, "toy", fold, DATASET_JSON, torch.device("cpu"))

    return trainer


def validation(trainer: nnUNetTrainer) -> Path:
    return Path(trainer.output_folder, "validation")


def summary_of(trainer: nnUNetTrainer) -> dict:
    return json.loads((validation(trainer) / "lesion_summary.json").read_text())


def log_of(trainer: nnUNetTrainer) -> str:
    return Path(trainer.log_file).read_text()


def names(trainer: nnUNetTrainer) -> set[str]:
    return {file.name for file in validation(trainer).iterdir()}


def test_the_report_lies_beside_the_files_of_nnunet(make):
    trainer = make()
    trainer.perform_actual_validation()
    assert names(trainer) == {"a.png", "b.png", "summary.json", *REPORT_FILES}
    assert (validation(trainer) / "summary.json").read_bytes() == SUMMARY
    summary = summary_of(trainer)
    assert [(case["case"], case["fold"]) for case in summary["cases"]] == [("a", 0), ("b", 0)]
    counts = summary["cases"][0]["targets"]["blob"]["counts"]
    expected = {"lesions": 2, "true_positive_lesions": 1, "components": 2, "true_positive_components": 1}
    assert {name: counts[name] for name in expected} == expected
    assert summary["targets"]["blob"]["pooled"]["lesion_recall"] == 0.5
    with (validation(trainer) / "lesions.csv").open(newline="") as file:
        rows = [(row["case"], row["kind"], row["status"]) for row in csv.DictReader(file)]
    assert sorted(rows) == [
        ("a", "component", "false_positive"),
        ("a", "component", "true_positive"),
        ("a", "lesion", "missed"),
        ("a", "lesion", "true_positive"),
    ]


def test_the_log_says_the_essence(make):
    trainer = make()
    trainer.perform_actual_validation()
    assert "blob: recall 0.500 (1 of 2 lesions)" in log_of(trainer)
    assert f"lesion_summary.json and lesions.csv are in {validation(trainer)}" in log_of(trainer)
    assert "Traceback" not in log_of(trainer)


def test_headers_that_differ_are_said_in_the_log_and_cost_no_report(make):
    trainer = make(type("Elsewhere", (LesionReportMixin, ValidatedElsewhere), {}), image_reader_writer="SimpleITKIO")
    trainer.perform_actual_validation()
    assert "blob: recall 1.000 (2 of 2 lesions)" in log_of(trainer)
    assert log_of(trainer).count("is up to 2 voxels away from its reference") == 2
    assert len(summary_of(trainer)["warnings"]) == 2


def test_a_case_without_prediction_is_named_and_its_lesions_are_missed(make):
    trainer = make(type("Losing", (Reporting,), {"predicted": {"b": PREDICTED["b"]}}))
    trainer.perform_actual_validation()
    assert "1 of 2 cases have no prediction (a)" in log_of(trainer)
    assert "blob: recall 0.000 (0 of 2 lesions)" in log_of(trainer)


def test_the_whole_training_set_as_one_fold(make):
    predicted = {**PREDICTED, "c": DRAWN["c"]}
    trainer = make(type("All", (Reporting,), {"predicted": predicted}), fold="all")
    trainer.perform_actual_validation()
    assert [(case["case"], case["fold"]) for case in summary_of(trainer)["cases"]] == [
        ("a", None),
        ("b", None),
        ("c", None),
    ]


def test_of_several_ranks_the_first_reports_all_cases_and_waits_for_nobody(make):
    """There is no process group here: whoever waited for another rank would fail."""
    trainer = make()
    trainer.is_ddp, trainer.local_rank = True, 1
    trainer.perform_actual_validation()
    assert names(trainer) == {"a.png", "b.png"}
    trainer.local_rank = 0
    trainer.perform_actual_validation()
    assert len(summary_of(trainer)["cases"]) == 2


@pytest.mark.parametrize(
    "protocol", ["default", Protocol(matching="iou", iou_threshold=0.9)], ids=["preset", "protocol"]
)
def test_a_subclass_chooses_the_protocol(make, protocol):
    trainer = make(type("Choosing", (Reporting,), {"lesion_protocol": protocol}))
    trainer.perform_actual_validation()
    found = 1 if protocol == "default" else 0
    assert f"({found} of 2 lesions)" in log_of(trainer)


def test_saved_probabilities_are_handed_on(make, monkeypatch):
    trainer = make()
    validation(trainer).mkdir(parents=True)
    (validation(trainer) / "a.npz").touch()
    seen = {}
    monkeypatch.setattr(folder, "evaluate_files", lambda cases, *_, **__: seen.update(cases=cases))
    trainer.perform_actual_validation(save_probabilities=True)
    assert [files.probabilities for files in seen["cases"]] == [validation(trainer) / "a.npz", None]


def test_the_summary_says_where_everything_is(make, tmp_path, monkeypatch):
    images = tmp_path / "raw" / DATASET / "imagesTr"
    images.mkdir(parents=True)
    trainer = make()
    trainer.perform_actual_validation()
    summary = summary_of(trainer)
    assert summary["folds"] == [0]
    assert summary["image_folder"] == str(images)
    assert summary["reference_folder"] == str(tmp_path / "preprocessed" / DATASET / "gt_segmentations")
    assert summary["prediction_folder"] == str(validation(trainer))
    # Training needs no raw data.
    monkeypatch.delenv("nnUNet_raw")
    trainer.perform_actual_validation()
    assert summary_of(trainer)["image_folder"] is None


@pytest.mark.parametrize(
    "error",
    [
        ValueError("something is wrong"),
        OSError(errno.ENOSPC, "No space left on device"),
        BrokenProcessPool("a worker was killed"),
        MemoryError("too many voxels"),
        ImportError("a library is broken"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_failure_is_told_and_costs_the_report_alone(make, monkeypatch, error):
    def fail(*_, **__):
        raise error

    trainer = make()
    validation(trainer).mkdir(parents=True)
    for name in REPORT_FILES:
        (validation(trainer) / name).write_text("of an earlier validation")
    monkeypatch.setattr(folder, "evaluate_files", fail)
    trainer.perform_actual_validation()
    assert names(trainer) == {"a.png", "b.png", "summary.json"}
    log = log_of(trainer)
    assert "Traceback (most recent call last)" in log
    assert str(error) in log
    assert f"Write it later with: nnUNetv2_mamba evaluate {trainer.output_folder_base}" in log


def test_a_disk_that_fills_up_leaves_no_half_report(make, monkeypatch):
    def write_half(self, where):
        (where / "lesions.csv").write_text("case,")
        raise OSError(errno.ENOSPC, "No space left on device")

    trainer = make()
    monkeypatch.setattr(folder.Evaluation, "write", write_half)
    trainer.perform_actual_validation()
    assert names(trainer) == {"a.png", "b.png", "summary.json"}


def test_an_interrupt_interrupts_and_leaves_no_report_of_an_earlier_validation(make, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    trainer = make()
    trainer.perform_actual_validation()
    assert names(trainer) >= set(REPORT_FILES)
    monkeypatch.setattr(folder, "evaluate_files", interrupt)
    with pytest.raises(KeyboardInterrupt):
        trainer.perform_actual_validation()
    assert names(trainer) == {"a.png", "b.png", "summary.json"}


@pytest.mark.parametrize("name", trainer_names())
def test_every_trainer_of_ours_reports(name):
    trainer = getattr(import_module(f"nnunetv2_mamba.trainers.{name}"), name)
    assert issubclass(trainer, RobustTrainer)
    assert issubclass(trainer, LesionReportMixin)
    # Autocast and whatever else a trainer puts around nnU-Net's validation is none of the report's business.
    assert trainer.__mro__.index(LesionReportMixin) < trainer.__mro__.index(nnUNetTrainer)


# PyTorch's, of what nnU-Net's look-up imports.
@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
def test_a_trainer_of_somebody_elses_is_found_by_nnunet(make, tmp_path, monkeypatch):
    trainers = tmp_path / "trainers"
    trainers.mkdir()
    (trainers / "nnUNetTrainerSomebodys.py").write_text(
        "from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer\n"
        "from nnunetv2_mamba.training.records.lesion_report import LesionReportMixin\n"
        "class nnUNetTrainerSomebodys(LesionReportMixin, nnUNetTrainer):\n"
        "    pass\n"
    )
    monkeypatch.setenv("nnUNet_extTrainer", str(trainers))
    monkeypatch.setattr(nnUNetTrainer, "perform_actual_validation", Validated.perform_actual_validation)
    monkeypatch.setattr(nnUNetTrainer, "predicted", PREDICTED, raising=False)
    trainer = make(recursive_find_trainer_class_by_name("nnUNetTrainerSomebodys"))
    trainer.perform_actual_validation()
    assert Path(trainer.output_folder_base).name == "nnUNetTrainerSomebodys__nnUNetPlans__toy"
    assert "(1 of 2 lesions)" in log_of(trainer)
