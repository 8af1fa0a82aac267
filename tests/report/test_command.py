"""The command: from folders to a page, evaluating only what has to be."""

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from nnunetv2_mamba import cli
from nnunetv2_mamba.commands import report
from nnunetv2_mamba.evaluation.results import LESIONS_FILE, SUMMARY_FILE

DATASET = {
    "channel_names": {"0": "red"},
    "labels": {"background": 0, "lesion": 1},
    "numTraining": 6,
    "file_ending": ".png",
}
CASES = [f"eye{number // 2}_{number % 2}" for number in range(6)]


def save(array, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture
def folder(tmp_path):
    """References, images, and two folders of predictions, the second of which finds nothing."""
    for number, case in enumerate(CASES):
        label = np.zeros((16, 16), dtype=np.uint8)
        label[2:5, 2 : 4 + number] = 1
        save(label, tmp_path / "labels" / f"{case}.png")
        save(label, tmp_path / "one" / f"{case}.png")
        save(np.roll(label, 9, axis=0), tmp_path / "two" / f"{case}.png")
        save(np.full((16, 16, 3), 99, dtype=np.uint8), tmp_path / "images" / f"{case}_0000.png")
    for name in ("one", "two"):
        (tmp_path / name / "dataset.json").write_text(json.dumps(DATASET), encoding="utf-8")
    return tmp_path


@pytest.fixture
def run(folder, capsys):
    def run(*words):
        """What the command prints; it is given the reference and one process."""
        words = [str(folder / word) if (folder / word).exists() else word for word in words]
        assert cli.main(["report", *words, "-o", str(folder / "page" / "report.html"), "-np", "1"]) == 0
        return capsys.readouterr().out

    return run


def html(folder):
    return (folder / "page" / "report.html").read_text(encoding="utf-8")


def test_anyones_predictions_get_a_report(folder, run):
    printed = run("one", "two", "-ref", "labels", "--images", "images", "--sensitivity")
    assert printed.splitlines()[-1] == str(folder / "page" / "report.html")
    page = html(folder)
    assert page.count('<image id="picture-') >= 1
    assert 'id="sensitivity"' in page
    assert (folder / "one" / SUMMARY_FILE).exists()


def test_what_is_known_is_not_evaluated_again(folder, run, monkeypatch):
    assert run("one", "-ref", "labels").startswith("one: evaluating, there is no earlier evaluation\n")
    monkeypatch.setattr(report, "evaluate", lambda *_, **__: pytest.fail("evaluated again"))
    assert run("one") == f"{folder / 'page' / 'report.html'}\n"


@pytest.mark.parametrize(
    ("words", "reason"),
    [(["--protocol", "iou50"], "have the protocol default"), (["--sensitivity"], "no results for other protocols")],
)
def test_what_is_wanted_and_not_known_is_evaluated(folder, run, words, reason):
    run("one", "-ref", "labels")
    assert reason in run("one", *words)


@pytest.mark.parametrize("where", ["one", "labels"])
def test_changed_files_are_evaluated_again_whatever_their_time(folder, run, where):
    run("one", "-ref", "labels")
    changed = folder / where / "eye0_0.png"
    time = changed.stat().st_mtime
    save(np.zeros((16, 16), dtype=np.uint8), changed)
    os.utime(changed, (time - 9, time - 9))
    assert "the files of eye0_0 have changed" in run("one")
    assert "evaluating" not in run("one")


def test_another_reference_is_no_reason_to_show_old_numbers(folder, run):
    run("one", "-ref", "labels")
    (folder / "two" / "dataset.json").rename(folder / "dataset.json")
    assert "the files of eye0_0 have changed" in run("one", "-ref", "two")


def test_other_labels_or_cases_are_evaluated_again(folder, run):
    run("one", "-ref", "labels")
    for name in ("labels", "one"):
        save(np.zeros((16, 16), dtype=np.uint8), folder / name / "eye9_0.png")
    assert "its cases differ" in run("one")
    (folder / "other.json").write_text(
        json.dumps(DATASET | {"labels": {"background": 0, "lesion": 2, "nerve": 1}}), encoding="utf-8"
    )
    assert "its labels differ" in run("one", "-djfile", "other.json")


def test_results_without_a_new_metric_are_evaluated_again(folder, run):
    run("one", "-ref", "labels")
    file = folder / "one" / SUMMARY_FILE
    summary = json.loads(file.read_text(encoding="utf-8"))
    del summary["metrics"]["NSD"]
    file.write_text(json.dumps(summary), encoding="utf-8")
    assert "one: evaluating, earlier results lack NSD" in run("one")
    assert "evaluating" not in run("one")


def test_a_prediction_that_has_gone_is_missed(folder, run):
    run("one", "-ref", "labels")
    (folder / "one" / "eye0_0.png").unlink()
    with pytest.raises(SystemExit, match=r"1 of 6 cases have no prediction \(eye0_0\)"):
        run("one")


def test_results_by_other_rules_are_left_alone(folder, run):
    run("one", "-ref", "labels")
    before = (folder / "one" / SUMMARY_FILE).read_text(encoding="utf-8")
    run("one", "--protocol", "iou50")
    assert (folder / "one" / SUMMARY_FILE).read_text(encoding="utf-8") == before
    assert "iou50" in html(folder)


def test_models_with_other_targets_are_refused_before_anything_is_evaluated(folder, run):
    (folder / "two" / "dataset.json").write_text(
        json.dumps(DATASET | {"labels": {"background": 0, "spot": 1}}), encoding="utf-8"
    )
    with pytest.raises(SystemExit, match=r"their targets differ \(lesion and spot\)"):
        run("one", "two", "-ref", "labels")
    assert not (folder / "one" / SUMMARY_FILE).exists()


def test_rules_are_those_of_the_last_evaluation_unless_others_are_named(folder, run):
    run("one", "-ref", "labels", "--protocol", "iou50")
    assert "earlier results" not in run("one")
    assert "two: evaluating" in run("one", "two", "-ref", "labels")
    assert json.loads((folder / "two" / SUMMARY_FILE).read_text(encoding="utf-8"))["protocol"]["name"] == "iou50"


def test_patients_are_drawn_where_names_tell_them(folder, run):
    run("one", "-ref", "labels", "--patient", "^eye[0-9]+")
    assert "of as many patients with replacement" in html(folder)
    assert "fewer than 5 cases (or patients" in html(folder)
    assert "6 cases of 3 patients" in html(folder)


def test_a_group_of_the_expression_is_the_patient(folder, run):
    run("one", "-ref", "labels", "--patient", "^(eye[0-9]+)_[0-9]+$")
    assert "6 cases of 3 patients" in html(folder)


def test_models_that_were_evaluated_with_other_references_are_not_compared(folder, run):
    shutil.copytree(folder / "labels", folder / "others")
    save(np.zeros((16, 16), dtype=np.uint8), folder / "others" / "eye1_0.png")
    run("one", "-ref", "labels")
    run("two", "-ref", "others")
    with pytest.raises(SystemExit, match="one and two cannot be compared, their references of the case eye1_0 differ"):
        run("one", "two")
    run("one", "two", "-ref", "labels")


def test_a_cost_is_read_whatever_the_language_of_the_machine(tmp_path):
    (tmp_path / "cost.json").write_text('{"device": "cuda: é"}', encoding="utf-8")
    code = "import pathlib, sys; from nnunetv2_mamba.report import cost; "
    code += "print(ascii(cost.cost_of(pathlib.Path(sys.argv[1]))))"
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-c", code, str(tmp_path)]
    printed = subprocess.run(command, env=os.environ | plain, capture_output=True, text=True, check=True).stdout
    assert printed == "{'device': 'cuda: \\xe9'}\n"


def test_a_trained_model_is_its_validated_folds_and_has_a_cost(folder, run, monkeypatch):
    raw, trained = folder / "raw" / "Dataset007_Eyes", folder / "nnUNetTrainerMine__nnUNetPlans__2d"
    raw.mkdir(parents=True)
    (folder / "labels").rename(raw / "labelsTr")
    (folder / "images").rename(raw / "imagesTr")
    monkeypatch.setenv("nnUNet_raw", str(folder / "raw"))
    monkeypatch.delenv("nnUNet_preprocessed", raising=False)
    for fold in (0, 1):
        validation = trained / f"fold_{fold}" / "validation"
        validation.mkdir(parents=True)
        (validation / "summary.json").write_text("{}", encoding="utf-8")
        cost = {
            "parameters": 31_000_000,
            "epoch_seconds": 10.0 * (fold + 1),
            "peak_memory_bytes": 2**30,
            "device": "cpu",
        }
        (validation.parent / "cost.json").write_text(json.dumps(cost), encoding="utf-8")
        for case in CASES[fold::2]:
            (folder / "one" / f"{case}.png").rename(validation / f"{case}.png")
    (trained / "dataset.json").write_text(json.dumps(DATASET), encoding="utf-8")
    (trained / "plans.json").write_text(
        json.dumps({"dataset_name": "Dataset007_Eyes", "image_reader_writer": "NaturalImage2DIO"}), encoding="utf-8"
    )
    run("nnUNetTrainerMine__nnUNetPlans__2d")
    page = html(folder)
    assert "<title>Lesion report: nnUNetTrainerMine</title>" in page
    assert all(f">{text}</td>" in page for text in ("31.00 M", "15 s", "1.0 GiB"))
    assert '<image id="picture-' in page
    save(np.zeros((16, 16), dtype=np.uint8), folder / "test" / "hand.png")
    save(np.zeros((16, 16), dtype=np.uint8), folder / "two" / "hand.png")
    for case in CASES:
        (folder / "two" / f"{case}.png").unlink()
    run("nnUNetTrainerMine__nnUNetPlans__2d", "two", "-ref", "test")
    assert "nnUNetTrainerMine on 6 and two on 1; 0 are common to all" in html(folder)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["one"], "name their folder with -ref"),
        (["one", "one", "-ref", "labels"], "was given twice"),
        (["nowhere", "-ref", "labels"], "nowhere is not a folder"),
        (["one", "-ref", "labels", "--patient", "("], "is not a regular expression"),
        (["one", "-ref", "labels", "--patient", "^hand"], "does not match the case eye"),
        (["one", "-ref", "labels", "--patient", "^eye|(hand)"], "does not match the case eye"),
        (["one", "-ref", "labels", "--patient", "^eye.*"], "gives each of the 6 cases a patient of its own"),
        (["one", "-ref", "labels", "--protocol", "mine"], "neither a JSON file nor one of the protocols"),
    ],
)
def test_mistakes_are_one_sentence(run, words, sentence):
    with pytest.raises(SystemExit, match=f"^nnUNetv2_mamba report: .*{sentence}"):
        run(*words)


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (["r/nnUNetTrainerA__p__2d", "r/nnUNetTrainerB__p__2d"], ["nnUNetTrainerA", "nnUNetTrainerB"]),
        (["r/T__p__2d", "r/T__q__2d"], ["T__p__2d", "T__q__2d"]),
        (["r/T__p__2d", "s/T__p__2d", "s/U__p__2d"], ["r/T__p__2d", "s/T__p__2d", "s/U__p__2d"]),
        (["r/T__p__2d", "s/T__p__2d"], ["r", "s"]),
        (["predictions"], ["predictions"]),
    ],
)
def test_names_are_as_short_as_they_can_be(tmp_path, folders, expected):
    assert report.labels([tmp_path / folder for folder in folders]) == expected


def test_results_of_version_0_1_0_are_not_evaluated_again(folder, run, monkeypatch):
    run("one", "two", "-ref", "labels", "--sensitivity")
    before = html(folder)
    names = {
        '"format": 2': '"format": 1',
        "true_positive_lesions": "found",
        "true_positive_components": "right",
        "false_positive_volume": "invented_volume",
        "true_positive_dice": "found_dice",
        "with_false_positives": "with_inventions",
        ",true_positive,": ",found,",
        ",false_positive,": ",invented,",
    }
    for file in [folder / name / file for name in ("one", "two") for file in (SUMMARY_FILE, LESIONS_FILE)]:
        text = file.read_text(encoding="utf-8")
        for now, then in names.items():
            text = text.replace(now, then)
        file.write_text(re.sub("(,component,.*),found,", r"\1,right,", text), encoding="utf-8")
    monkeypatch.setattr(report, "evaluate", lambda *_, **__: pytest.fail("evaluated again"))
    assert run("one", "two") == f"{folder / 'page' / 'report.html'}\n"
    assert html(folder) == before
