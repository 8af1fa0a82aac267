"""``nnUNetv2_mamba calibrate`` on a model's folder as nnU-Net leaves it, and what uses its file."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nnunetv2_mamba import cli
from nnunetv2_mamba.commands.predict import decide_again, without
from nnunetv2_mamba.evaluation.results import read_evaluation

POINT = {"threshold": 0.35, "min_component_size": pytest.approx(1, abs=1e-3)}
"""Faint lesions have a probability of 0.37, and specks one pixel."""

DATASET = "Dataset999_Specks"
NNUNET = {"threshold": 0.5, "min_component_size": 0.0}


def case(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Reference and probability: a clear lesion, a faint one, and specks that are none."""
    rng = np.random.default_rng(seed)
    reference, probability = np.zeros((24, 32), np.uint8), rng.random((24, 32)) * 0.2
    reference[3:7, 3:7], probability[3:7, 3:7] = 1, 0.9
    reference[14:18, 20:24], probability[14:18, 20:24] = 1, 0.37
    probability[10, 5 + seed] = probability[20, 2 + seed] = 0.97
    return reference, probability


def save(folder: Path, name: str, probability: np.ndarray, npz: bool = True) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray((probability > 0.5).astype(np.uint8)).save(folder / f"{name}.png")
    if npz:
        np.savez_compressed(folder / f"{name}.npz", probabilities=np.stack([1 - probability, probability])[:, None])


@pytest.fixture
def model(tmp_path, monkeypatch) -> Path:
    """Two folds of two cases each."""
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    labels = tmp_path / "nnUNet_raw" / DATASET / "labelsTr"
    labels.mkdir(parents=True)
    model = tmp_path / "nnUNet_results" / DATASET / "nnUNetTrainer__nnUNetPlans__2d"
    for number in range(4):
        reference, probability = case(number)
        Image.fromarray(reference).save(labels / f"case_{number}.png")
        validation = model / f"fold_{number // 2}" / "validation"
        save(validation, f"case_{number}", probability)
        (validation / "summary.json").write_text("{}")
    describe(model)
    return model


def describe(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    dataset = {"channel_names": {"0": "red"}, "labels": {"background": 0, "lesion": 1}, "file_ending": ".png"}
    (folder / "dataset.json").write_text(json.dumps(dataset))
    plans = {"dataset_name": DATASET, "image_reader_writer": "NaturalImage2DIO"}
    (folder / "plans.json").write_text(json.dumps(plans))


def calibrate(model: Path, *arguments: str) -> dict:
    assert cli.main(["calibrate", str(model), "-np", "1", *arguments]) == 0
    return json.loads((model / "operating_point.json").read_text())


def refusal(*arguments: str) -> str:
    with pytest.raises(SystemExit) as stop:
        cli.main([*arguments, "-np", "1"])
    assert "\n" not in str(stop.value.code)
    return str(stop.value.code)


def test_it_finds_the_faint_lesions_and_leaves_the_specks_out(model, capsys):
    content = calibrate(model)
    assert content["targets"] == {"lesion": POINT}
    assert (content["aim"], content["folds"], content["cases"]) == ("f1", [0, 1], 4)
    results = content["results"]["lesion"]
    assert results["nnunet"]["lesion_recall"] == 0.5
    assert results["nnunet"]["fp_per_case"] == 2
    assert results["fitted_to_others"]["lesion_f1"] == results["fitted_to_all"]["lesion_f1"] == 1
    printed = capsys.readouterr().out
    assert "lesion: probability 0.35 or more, components of 1.0001 px or more" in printed
    assert "fitted to other folds: expect this" in printed
    assert "third of the lesions: 0." in printed
    assert str(model / "operating_point.json") in printed


def test_recall_at_so_many_false_positives(model):
    content = calibrate(model, "--aim", "recall@0")
    assert content["results"]["lesion"]["fitted_to_all"]["fp_per_case"] == 0
    assert content["results"]["lesion"]["fitted_to_all"]["lesion_recall"] == 1


def test_a_single_fold_is_divided(model, capsys):
    content = calibrate(model, "-f", "1")
    assert content["results"]["lesion"]["fitted_to_others"]["cases"] == 2
    assert "fitted to other cases: expect this" in capsys.readouterr().out


def test_fold_all_says_nothing_of_others(model, capsys):
    (model / "fold_1").rename(model / "fold_all")
    calibrate(model, "-f", "all")
    assert "the network of fold all was trained on these very cases" in capsys.readouterr().out


def test_several_classes_are_counted_in_the_label_map(model):
    """Where nnU-Net takes the most probable class, which has less than 0.5, and a class that wins takes a voxel."""
    dataset = json.loads((model / "dataset.json").read_text())
    dataset["labels"] = {"background": 0, "lesion": 1, "other": 2}
    (model / "dataset.json").write_text(json.dumps(dataset))
    for fold, number in ((0, 0), (0, 1), (1, 2), (1, 3)):
        folder = model / f"fold_{fold}" / "validation"
        faint = np.zeros((24, 32))
        faint[3:7, 3:7] = 0.4
        channels = np.stack([np.full((24, 32), 0.3), faint, np.full((24, 32), 0.3)])
        np.savez_compressed(folder / f"case_{number}.npz", probabilities=channels[:, None])
        Image.fromarray((faint > 0).astype(np.uint8)).save(folder / f"case_{number}.png")
    results = calibrate(model)["results"]["lesion"]
    assert results["nnunet"]["true_positive_lesions"] == 4
    assert results["fitted_to_all"]["true_positive_lesions"] == 4


def test_evaluate_applies_it(model, tmp_path):
    calibrate(model)
    out = tmp_path / "evaluated"
    arguments = ["evaluate", str(model), "-o", str(out), "-np", "1", "--operating-point"]
    assert cli.main([*arguments, str(model)]) == 0
    summary = read_evaluation(out).summary
    pooled = summary["targets"]["lesion"]["pooled"]
    assert (pooled["lesion_recall"], pooled["lesion_precision"]) == (1, 1)
    assert summary["operating_points"]["points"] == {"lesion": POINT}
    (model / "fold_1" / "validation" / "case_3.npz").unlink()
    message = refusal("evaluate", str(model), "-o", str(out), "--operating-point", str(model))
    assert "case_3 has no probabilities, from which an operating point decides: validate with --npz" in message


@pytest.mark.parametrize("keep", [True, False])
def test_predictions_are_decided_again(model, tmp_path, keep):
    calibrate(model)
    folder = tmp_path / "predicted"
    describe(folder)
    reference, probability = case(7)
    save(folder, "new", probability)
    assert decide_again(folder, model / "operating_point.json", since=0, keep_probabilities=keep) == 0
    assert np.array_equal(np.asarray(Image.open(folder / "new.png")), reference)
    assert (folder / "new.npz").exists() == keep


def test_predictions_without_probabilities_stay_as_they_are(model, tmp_path):
    calibrate(model)
    folder = tmp_path / "predicted"
    describe(folder)
    save(folder, "new", case(7)[1], npz=False)
    with pytest.raises(SystemExit, match=r"has no probabilities beside predictions.* Predictions in .* nnU-Net's own"):
        decide_again(folder, model, since=0, keep_probabilities=False)


def test_what_an_earlier_prediction_has_written_is_left_alone(model, tmp_path):
    calibrate(model)
    folder = tmp_path / "predicted"
    describe(folder)
    for name in ("earlier", "new"):
        save(folder, name, case(7)[1])
    os.utime(folder / "earlier.npz", (1000, 1000))
    decide_again(folder, model, since=2000, keep_probabilities=False)
    assert sorted(file.name for file in folder.glob("*.npz")) == ["earlier.npz"]
    assert np.array_equal(np.asarray(Image.open(folder / "earlier.png")), case(7)[1] > 0.5)
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize(
    ("arguments", "value", "rest"),
    [
        (["-i", "a", "--operating-point", "b", "-o", "c"], "b", ["-i", "a", "-o", "c"]),
        (["--operating-point=b", "-o", "c"], "b", ["-o", "c"]),
        (["-o", "c"], None, ["-o", "c"]),
    ],
)
def test_nnunet_does_not_see_the_flag(arguments, value, rest):
    assert without(arguments, "--operating-point") == (value, rest)


def test_what_cannot_be_calibrated(model, tmp_path):
    assert "the aim 'dice' is not known" in refusal("calibrate", str(model), "--aim", "dice")
    assert "is not the folder of a trained model" in refusal("calibrate", str(tmp_path))
    (model / "fold_0" / "validation" / "case_1.npz").unlink()
    message = refusal("calibrate", str(model))
    assert "1 of 4 cases have no probabilities (case_1): validate again with nnUNetv2_train ... --val --npz." in message
    assert not (model / "operating_point.json").exists()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({}, "holds no operating points: write one with nnUNetv2_mamba calibrate"),
        ({"format": 1, "targets": {"tumour": NNUNET}}, "has no operating point for lesion, only for tumour: it is of"),
        (
            {"format": 1, "targets": {"lesion": {"threshold": 3, "min_component_size": 0}}},
            "not valid: the threshold of an opera",
        ),
        ({"format": 1, "targets": {"lesion": {"threshold": 0.5}, "other": 3}}, None),
        ({"format": 1, "targets": {"lesion": {"colour": 1}}}, "has an operating point that is not valid"),
    ],
)
def test_files_that_are_none(model, tmp_path, content, sentence):
    file = tmp_path / "point.json"
    file.write_text(json.dumps(content))
    arguments = ["evaluate", str(model), "-o", str(tmp_path / "out"), "--operating-point", str(file)]
    if sentence is None:
        assert cli.main([*arguments, "-np", "1"]) == 0
    else:
        assert sentence in refusal(*arguments)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["-o", "b"], r"--operating-point: .*nowhere.json cannot be read"),
        ([], "--operating-point wants the folder of the predictions as -o FOLDER"),
        (["-o", "b", "--continue_prediction"], "when they are there: leave out --continue_prediction"),
        (["-o", "b", "-num_parts=2"], "when they are there: leave out -num_parts"),
    ],
)
def test_what_cannot_work_is_said_before_the_prediction(tmp_path, arguments, sentence):
    with pytest.raises(SystemExit, match=sentence):
        cli.main(["predict", "-i", "a", *arguments, "-d", "1", "--operating-point", str(tmp_path / "nowhere.json")])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["-np", "0"], "-np 0 is not a number of processes: give 1 or more"),
        (["-o", "nowhere/point.json"], "the folder nowhere does not exist: make it, or name another file with -o"),
    ],
)
def test_what_cannot_be_written_is_said_before_the_reading(model, arguments, sentence):
    with pytest.raises(SystemExit, match=sentence):
        cli.main(["calibrate", str(model), *arguments])


def test_a_fold_without_cases_is_refused(model):
    for file in (model / "fold_0" / "validation").glob("case*"):
        file.unlink()
    assert "0 validated cases are too few to fit an operating point" in refusal("calibrate", str(model), "-f", "0")


def test_a_folder_is_a_place_for_the_file(model, tmp_path):
    assert cli.main(["calibrate", str(model), "-np", "1", "-o", str(tmp_path)]) == 0
    assert (tmp_path / "operating_point.json").is_file()
