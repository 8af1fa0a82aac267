"""nnUNetv2_mamba evaluate on folders as nnU-Net leaves them, read by nnU-Net's own readers."""

import csv
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from nnunetv2_mamba import cli
from nnunetv2_mamba.evaluation import parallel
from nnunetv2_mamba.evaluation.presets import PRESETS
from nnunetv2_mamba.evaluation.results import read_evaluation
from tests.evaluation.drawings import labels

DATASET = "Dataset999_Drawn"
LABELS = {"background": 0, "lesion": 1}
# One lesion detected, one missed; no lesion, but a false positive.
REFERENCES = {"eye01": "11...1\n......", "eye02": "......\n......"}
PREDICTIONS = {"eye01": "1.....\n......", "eye02": "...1..\n......"}


@pytest.fixture(autouse=True)
def _environment(monkeypatch, tmp_path):
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(variable, str(tmp_path / variable))


def write(folder: Path, drawings: Mapping[str, str], ending: str = ".png", spacing=(0.5, 2.0, 4.0)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, drawing in drawings.items():
        array = labels(drawing)
        if ending == ".png":
            Image.fromarray(array).save(folder / f"{name}.png")
        else:
            image = sitk.GetImageFromArray(array)
            image.SetSpacing(spacing[: array.ndim])
            sitk.WriteImage(image, str(folder / f"{name}{ending}"))
    return folder


def write_dataset(folder: Path, ending: str = ".png", labels: Mapping | None = None, **plans) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    dataset = {"channel_names": {"0": "red"}, "labels": labels or LABELS, "file_ending": ending, "numTraining": 2}
    (folder / "dataset.json").write_text(json.dumps(dataset))
    if plans:
        (folder / "plans.json").write_text(json.dumps({"dataset_name": DATASET} | plans))


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    """References and predictions, with dataset.json beside the predictions, where nnU-Net leaves it."""
    reference, prediction = write(tmp_path / "labelsTs", REFERENCES), write(tmp_path / "predicted", PREDICTIONS)
    write_dataset(prediction)
    return reference, prediction


def evaluate(*arguments: str | Path) -> None:
    assert cli.main(["evaluate", *map(str, arguments), "-np", "1"]) == 0


def refused(*arguments: str | Path) -> str:
    """What the command says when it ends without a result."""
    with pytest.raises(SystemExit) as stop:
        cli.main(["evaluate", *map(str, arguments), "-np", "1"])
    message = str(stop.value.code)
    assert message.startswith("nnUNetv2_mamba evaluate: ")
    assert "\n" not in message
    return message


def test_a_folder_of_predictions(folders, capsys):
    reference, prediction = folders
    evaluate("-ref", reference, "-pred", prediction)
    summary = read_evaluation(prediction).summary
    assert (summary["unit"], summary["dimensions"], summary["folds"]) == ("px", 2, None)
    assert (summary["reference_folder"], summary["prediction_folder"]) == (str(reference), str(prediction))
    assert [case["case"] for case in summary["cases"]] == ["eye01", "eye02"]
    pooled = summary["targets"]["lesion"]["pooled"]
    assert (pooled["lesion_recall"], pooled["lesion_precision"]) == (0.5, 0.5)
    with (prediction / "lesions.csv").open(newline="") as file:
        rows = [(row["case"], row["kind"], row["status"], row["size"]) for row in csv.DictReader(file)]
    assert rows == [
        ("eye01", "lesion", "true_positive", "2"),
        ("eye01", "lesion", "missed", "1"),
        ("eye01", "component", "true_positive", "1"),
        ("eye02", "component", "false_positive", "1"),
    ]
    printed = capsys.readouterr().out
    assert "lesion: recall 0.500 (1 of 2 lesions), precision 0.500 (1 of 2 components)" in printed
    assert "1 case without a lesion, 1 of them with a false positive" in printed
    assert f"protocol default ({PRESETS['default'].hash})" in printed
    assert str(prediction / "lesion_summary.json") in printed


@pytest.mark.parametrize("reader", ["SimpleITKIO", "NibabelIO", "NibabelIOWithReorient"])
def test_volumes_with_the_reader_of_the_plans(tmp_path, reader):
    drawings = {"a": "11. ... ..1\n... ... ..."}
    reference = write(tmp_path / "labelsTs", drawings, ".nii.gz")
    prediction = write(tmp_path / "predicted", {"a": "1.. ... ...\n... ... ..."}, ".nii.gz")
    write_dataset(tmp_path / "model", ".nii.gz", image_reader_writer=reader)
    files = ["-djfile", tmp_path / "model/dataset.json", "-pfile", tmp_path / "model/plans.json"]
    evaluate("-ref", reference, "-pred", prediction, *files)
    summary = read_evaluation(prediction).summary
    assert (summary["unit"], summary["dimensions"], summary["cases"][0]["spacing"]) == ("mm", 3, [4.0, 2.0, 0.5])
    found, missed = (part for _, _, _, part in read_evaluation(prediction).lesions if part.kind == "lesion")
    # One of the readers turns the patient around.
    centre = (0.0, 1.0, 1.5) if reader == "NibabelIOWithReorient" else (0.0, 0.0, 0.5)
    assert (found.status, found.size, found.centre) == ("true_positive", 8.0, centre)
    # Two slices of 4 mm, less a slice for the sides that face each other; and a column from pixel to pixel.
    assert (missed.status, missed.distance) == ("missed", pytest.approx(np.hypot(4.0, 0.5), rel=1e-5))


def test_images_in_nifti_have_millimetres(tmp_path):
    reference = write(tmp_path / "labelsTs", REFERENCES, ".nii.gz")
    prediction = write(tmp_path / "predicted", PREDICTIONS, ".nii.gz")
    write_dataset(prediction, ".nii.gz")
    evaluate("-ref", reference, "-pred", prediction)
    summary = read_evaluation(prediction).summary
    assert (summary["unit"], summary["dimensions"], summary["cases"][0]["spacing"]) == ("mm", 2, [2.0, 0.5])
    assert summary["metrics"]["reference_volume"]["unit"] == "mm^2"


def test_regions_and_an_ignore_label(tmp_path):
    reference = write(tmp_path / "labelsTs", {"a": "12.33.\n......"})
    prediction = write(tmp_path / "predicted", {"a": "11.22.\n.....1"})
    write_dataset(prediction, labels={"background": 0, "whole": [1, 2], "core": 2, "ignore": 3})
    evaluate("-ref", reference, "-pred", prediction)
    targets = read_evaluation(prediction).summary["targets"]
    assert {name: target["labels"] for name, target in targets.items()} == {"whole": [1, 2], "core": [2]}
    counts = {name: target["counts"] for name, target in targets.items()}
    assert [counts["whole"][name] for name in ("TP", "FP", "FN", "TN")] == [2, 1, 0, 7]
    assert [counts["core"][name] for name in ("TP", "FP", "FN", "components")] == [0, 0, 1, 0]


def test_results_go_where_they_are_wanted(folders, tmp_path):
    reference, prediction = folders
    evaluate("-ref", reference, "-pred", prediction, "-o", tmp_path / "new/results")
    assert {path.name for path in (tmp_path / "new/results").iterdir()} == {"lesions.csv", "lesion_summary.json"}
    assert not (prediction / "lesions.csv").exists()


def test_a_missing_prediction(folders):
    reference, prediction = folders
    (prediction / "eye01.png").unlink()
    assert "1 of 2 cases have no prediction (eye01)" in refused("-ref", reference, "-pred", prediction)
    assert not (prediction / "lesions.csv").exists()
    evaluate("-ref", reference, "-pred", prediction, "--allow-missing")
    counts = read_evaluation(prediction).summary["targets"]["lesion"]["counts"]
    assert (counts["cases"], counts["lesions"], counts["true_positive_lesions"], counts["FN"]) == (2, 2, 0, 3)


def test_a_prediction_without_a_reference(folders):
    reference, prediction = folders
    (reference / "eye02.png").unlink()
    assert f"1 predictions have no reference in {reference} (eye02)" in refused("-ref", reference, "-pred", prediction)


def test_another_grid_names_both_files(folders):
    reference, prediction = folders
    write(prediction, {"eye02": "...\n..."})
    message = refused("-ref", reference, "-pred", prediction)
    assert f"{prediction / 'eye02.png'} has the shape 2 x 3" in message
    assert f"its reference {reference / 'eye02.png'} has 2 x 6" in message


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "nnU-Net writes dataset.json beside its predictions; else name it with -djfile."),
        ("{", "cannot be read"),
        ('{"file_ending": ".png"}', "has no labels: name a dataset.json of nnU-Net v2."),
        ('{"labels": {"0": "background", "1": "lesion"}, "file_ending": ".png"}', "the label 0 is 'background'"),
        ('{"labels": {"background": 0}, "file_ending": ".png"}', "names no foreground label"),
        ('{"labels": {"background": 0, "lesion": 1}, "file_ending": ".gz"}', "holds no file that ends with .gz"),
    ],
)
def test_a_dataset_json_that_is_no_help(folders, content, sentence):
    reference, prediction = folders
    (prediction / "dataset.json").unlink()
    if content is not None:
        (prediction / "dataset.json").write_text(content)
    assert sentence in refused("-ref", reference, "-pred", prediction)


def test_folders_that_are_not_there(folders, tmp_path):
    reference, prediction = folders
    assert "nowhere is not a folder" in refused("-ref", tmp_path / "nowhere", "-pred", prediction)
    for arguments in ([], ["-ref", reference], ["-pred", prediction], [tmp_path, "-pred", prediction]):
        assert "give the folder of a trained model, or -ref and -pred" in refused(*arguments)


def test_protocols(folders, tmp_path):
    reference, prediction = folders

    def protocol_of(*arguments: str) -> dict:
        evaluate("-ref", reference, "-pred", prediction, *arguments)
        return read_evaluation(prediction).summary["protocol"]

    assert protocol_of("--protocol", "autopet") == PRESETS["autopet"].as_dict()
    (tmp_path / "mine.json").write_text('{"min_lesion_voxels": 2}')
    assert protocol_of("--protocol", str(tmp_path / "mine.json"))["min_lesion_voxels"] == 2
    changed = protocol_of("--protocol", "picai", "--set", "connectivity=faces", "min_lesion_size=1.5")
    assert (changed["connectivity"], changed["min_lesion_size"], changed["iou_threshold"]) == ("faces", 1.5, 0.1)
    assert changed["name"] == "picai, connectivity=faces, min_lesion_size=1.5"
    strata = '{"names": ["tiny", "rest"], "by": "voxels", "bounds": [1]}'
    assert protocol_of("--set", f"strata={strata}")["strata"]["bounds"] == [1.0]
    assert [stratum["counts"]["lesions"] for stratum in strata_of(prediction)] == [1, 1]
    distance = protocol_of("--set", "missed_distance=100")
    assert distance["missed_distance"] == 100.0
    assert read_evaluation(prediction).summary["targets"]["lesion"]["pooled"]["lesionwise_hd95"] is not None


def strata_of(folder: Path) -> list[dict]:
    return read_evaluation(folder).summary["targets"]["lesion"]["strata"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--protocol", "brats"], "brats is neither a JSON file nor one of the protocols default,"),
        (["--set", "connectivity"], "--set connectivity: write it as RULE=VALUE."),
        (["--set", "conectivity=faces"], "a protocol has no conectivity, only name, connectivity"),
        (["--set", "connectivity=26"], "connectivity=26 is not one of faces, edges, corners"),
        (["--set", "min_lesion_voxels=three"], "min_lesion_voxels='three' is not a whole number"),
        (["--set", "strata=thirds"], "strata='thirds' is not a mapping"),
        (["--set", 'empty_values=[["DICE","both_empty",1]]'], "empty_values names the metric 'DICE'"),
    ],
)
def test_rules_that_do_not_exist(folders, arguments, sentence):
    reference, prediction = folders
    assert sentence in refused("-ref", reference, "-pred", prediction, *arguments)


def test_sensitivity_is_shown_and_saved(tmp_path, capsys):
    # Diagonal pixels, of which one is predicted.
    reference, prediction = write(tmp_path / "r", {"a": "1.\n.1"}), write(tmp_path / "p", {"a": "1.\n.."})
    write_dataset(prediction)
    evaluate("-ref", reference, "-pred", prediction, "--sensitivity")
    assert len(read_evaluation(prediction).summary["sensitivity"]) >= 8
    shown = capsys.readouterr().out
    assert re.search(r"default +1\.000 +1\.000 +1\.000", shown)
    assert re.search(r"connectivity faces +0\.500 +1\.000 +0\.667", shown)
    assert re.search(r"largest difference +0\.500 +0\.000 +0\.333", shown)


@pytest.fixture
def model(tmp_path) -> Path:
    """Folder of a trained model with two validated folds of one case each."""
    folder = tmp_path / "nnUNet_results" / DATASET / "nnUNetTrainer__nnUNetPlans__2d"
    write_dataset(folder, image_reader_writer="NaturalImage2DIO")
    for fold, (name, drawing) in enumerate(PREDICTIONS.items()):
        validation = write(folder / f"fold_{fold}" / "validation", {name: drawing})
        (validation / "summary.json").write_text("{}")
    write(tmp_path / "nnUNet_raw" / DATASET / "labelsTr", REFERENCES)
    return folder


def write_splits(tmp_path: Path, *validations: list[str]) -> None:
    folder = tmp_path / "nnUNet_preprocessed" / DATASET
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "splits_final.json").write_text(json.dumps([{"train": [], "val": cases} for cases in validations]))


@pytest.mark.parametrize("with_splits", [True, False])
def test_folds_of_a_trained_model_are_pooled(model, tmp_path, with_splits):
    if with_splits:
        write_splits(tmp_path, ["eye01"], ["eye02"])
    evaluate(model)
    evaluation = read_evaluation(model)
    assert evaluation.summary["folds"] == [0, 1]
    assert [(case["case"], case["fold"]) for case in evaluation.summary["cases"]] == [("eye01", 0), ("eye02", 1)]
    assert evaluation.summary["targets"]["lesion"]["counts"]["lesions"] == 2
    assert [(case, fold) for case, fold, _, _ in evaluation.lesions] == [("eye01", 0)] * 3 + [("eye02", 1)]
    assert evaluation.summary["image_folder"] is None


def test_chosen_folds(model):
    evaluate(model, "-f", "1")
    assert [case["case"] for case in read_evaluation(model).summary["cases"]] == ["eye02"]
    assert "fold 3 of" in refused(model, "-f", "3")


def test_a_fold_that_is_not_validated_is_left_out_unless_it_is_asked_for(model):
    (model / "fold_0/validation/summary.json").unlink()
    evaluate(model)
    assert read_evaluation(model).summary["folds"] == [1]
    (model / "fold_1/validation/summary.json").unlink()
    assert "has been validated: finish its training, or run it with --val" in refused(model)


def test_a_case_in_two_folds_is_refused(model, tmp_path):
    write(model / "fold_1/validation", {"eye01": PREDICTIONS["eye01"]})
    assert "eye01 is in fold 1 and in one before it: choose folds with -f." in refused(model)
    # Where the splits are at hand, they say which cases are of a fold, whatever else lies in its folder.
    write_splits(tmp_path, ["eye01"], ["eye02"])
    evaluate(model)


def test_a_case_of_the_splits_without_a_prediction_is_refused(model, tmp_path):
    write_splits(tmp_path, ["eye01", "eye03"], ["eye02"])
    write(tmp_path / "nnUNet_raw" / DATASET / "labelsTr", {"eye03": REFERENCES["eye01"]})
    assert "1 of 3 cases have no prediction (eye03)" in refused(model)
    evaluate(model, "--allow-missing")
    assert read_evaluation(model).summary["targets"]["lesion"]["counts"]["lesions"] == 4


def test_references_of_a_trained_model(model, tmp_path, monkeypatch):
    raw = tmp_path / "nnUNet_raw" / DATASET / "labelsTr"
    preprocessed = tmp_path / "nnUNet_preprocessed" / DATASET / "gt_segmentations"
    preprocessed.parent.mkdir(parents=True)
    raw.rename(preprocessed)
    evaluate(model)
    assert read_evaluation(model).summary["reference_folder"] == str(preprocessed)
    elsewhere = preprocessed.rename(tmp_path / "elsewhere")
    assert "are neither in nnUNet_raw nor in nnUNet_preprocessed" in refused(model)
    monkeypatch.delenv("nnUNet_raw")
    evaluate(model, "-ref", elsewhere)
    (elsewhere / "eye02.png").unlink()
    assert "eye02.png is not there: name the folder of references with -ref." in refused(model, "-ref", elsewhere)


def test_probabilities_of_a_trained_model_make_a_curve(model):
    for fold, (name, drawing) in enumerate(PREDICTIONS.items()):
        lesion = 0.8 * labels(drawing)[None, None].astype(np.float32)
        np.savez_compressed(
            model / f"fold_{fold}/validation/{name}.npz", probabilities=np.concatenate([1 - lesion, lesion])
        )
    evaluate(model)
    froc = read_evaluation(model).summary["targets"]["lesion"]["froc"]
    assert froc["cases"] == 2
    assert dict(zip(froc["thresholds"], froc["lesion_recall"], strict=True))[0.7] == 0.5
    assert dict(zip(froc["thresholds"], froc["lesion_recall"], strict=True))[0.9] == 0.0


def test_several_processes_give_the_same_files(folders, monkeypatch):
    monkeypatch.setattr(parallel, "INLINE_SECONDS", -1.0)
    reference, prediction = folders
    results = []
    for processes in ("1", "2"):
        assert cli.main(["evaluate", "-ref", str(reference), "-pred", str(prediction), "-np", processes]) == 0
        results.append([(prediction / name).read_bytes() for name in ("lesions.csv", "lesion_summary.json")])
    assert results[0] == results[1]


def test_an_error_is_one_sentence_and_an_exit_code():
    done = subprocess.run(
        [sys.executable, "-m", "nnunetv2_mamba", "evaluate", "-ref", "nowhere", "-pred", "nowhere"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "nnUNetv2_mamba evaluate: nowhere is not a folder: name one that holds segmentations.\n"


def test_help_names_every_preset_and_loads_nothing_heavy(capsys):
    with pytest.raises(SystemExit):
        cli.main(["evaluate", "--help"])
    text = capsys.readouterr().out
    assert all(name in text for name in PRESETS)
    code = (
        "import sys\nfrom nnunetv2_mamba.cli import main\ntry: main(['evaluate', '--help'])\nexcept SystemExit: pass\n"
        "assert not sys.modules.keys() & {'torch', 'nnunetv2'}"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
