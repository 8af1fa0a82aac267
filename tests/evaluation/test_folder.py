"""Many cases: what is written, what is refused, and that neither order nor processes matter."""

import csv
import json
import math
from dataclasses import astuple

import pytest

from nnunetv2_mamba.evaluation import parallel
from nnunetv2_mamba.evaluation.errors import EvaluationError, GeometryError
from nnunetv2_mamba.evaluation.folder import CaseFiles, Settings, evaluate_files
from nnunetv2_mamba.evaluation.metrics import METRICS
from nnunetv2_mamba.evaluation.presets import PRESETS, variations
from nnunetv2_mamba.evaluation.protocol import Protocol
from nnunetv2_mamba.evaluation.results import read_evaluation
from nnunetv2_mamba.evaluation.targets import Target
from tests.evaluation.drawings import KILLS, DrawingReader, cases_of

LESION = Target("lesion", (1,))
# Reference and prediction, one case for each empty cell.
CELLS = {
    "neither": ("11.1.\n.....", "1..11\n1...."),
    "no_reference": (".....\n.....", "....1\n....."),
    "no_prediction": ("..11.\n.....", ".....\n....."),
    "nothing": (".....\n.....", ".....\n....."),
}


def settings(**changes) -> Settings:
    return Settings(**{"reader": DrawingReader((2.0, 0.5)), "targets": [LESION], **changes})


@pytest.fixture
def evaluation(tmp_path):
    return evaluate_files(cases_of(tmp_path, CELLS), settings())


@pytest.fixture
def in_processes(monkeypatch):
    """Starts processes at once, where few small cases would be done without."""
    monkeypatch.setattr(parallel, "INLINE_SECONDS", -1.0)


def no_constant(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


def test_cells_are_counted_and_pooled(evaluation):
    target = evaluation.summary["targets"]["lesion"]
    assert target["cells"] == {"both_empty": 1, "reference_empty": 1, "prediction_empty": 1, "neither_empty": 1}
    # Of three lesions two are found, of three components one is invented, in four cases of ten pixels of 1 mm^2.
    assert {name: target["pooled"][name] for name in ("lesion_recall", "lesion_precision", "fp_per_case")} == {
        "lesion_recall": pytest.approx(2 / 3),
        "lesion_precision": pytest.approx(2 / 3),
        "fp_per_case": pytest.approx(1 / 4),
    }
    assert target["pooled"]["DSC"] == pytest.approx(2 * 2 / (2 * 2 + 3 + 3))
    assert target["pooled"]["ACC"] == pytest.approx((40 - 6) / 40)
    assert target["pooled"]["reference_volume"] == pytest.approx(5 / 4)


def test_means_are_over_the_cases_that_have_the_metric(evaluation):
    target = evaluation.summary["targets"]["lesion"]
    dice = 2 * 2 / (2 * 2 + 1 + 2)
    assert target["mean"]["DSC"] == pytest.approx((dice + 0 + 0) / 3)
    assert target["mean"]["SEN"] == pytest.approx((2 / 3 + 0) / 2)
    assert target["mean"]["lesion_recall"] == pytest.approx((1 + 0) / 2)
    assert target["mean"]["fp_per_case"] == pytest.approx(1 / 4)
    assert target["mean"]["lesionwise_hd95"] is None
    defined = {name: target["defined"][name] for name in ("DSC", "SEN", "HD95", "NSD", "ACC", "lesionwise_hd95")}
    assert defined == {"DSC": 3, "SEN": 2, "HD95": 1, "NSD": 3, "ACC": 4, "lesionwise_hd95": 0}


def test_cases_without_a_lesion_have_a_specificity(evaluation):
    assert evaluation.summary["targets"]["lesion"]["lesion_free"] == {
        "cases": 2,
        "with_false_positives": 1,
        "specificity": 0.5,
        "fp_per_case": 0.5,
        "fp_volume_per_case": 0.5,
    }


def test_without_such_cases_there_is_none(tmp_path):
    cases = cases_of(tmp_path, {"a": ("1.", "11")})
    free = evaluate_files(cases, settings()).summary["targets"]["lesion"]["lesion_free"]
    assert free == {
        "cases": 0,
        "with_false_positives": 0,
        "specificity": None,
        "fp_per_case": None,
        "fp_volume_per_case": None,
    }


def test_the_summary_says_where_everything_is_from(evaluation, tmp_path):
    summary = evaluation.summary
    assert summary["protocol"] == Protocol().as_dict()
    assert summary["protocol_hash"] == Protocol().hash
    assert (summary["unit"], summary["dimensions"], summary["sensitivity"]) == ("mm", 2, None)
    assert summary["metrics"].keys() == METRICS.keys()
    assert summary["metrics"]["fp_volume_per_case"]["unit"] == "mm^2 per case"
    case = summary["cases"][0]
    assert {name: case[name] for name in ("case", "fold", "reference_file", "prediction_file", "spacing")} == {
        "case": "neither",
        "fold": None,
        "reference_file": str(tmp_path / "reference/neither.txt"),
        "prediction_file": str(tmp_path / "prediction/neither.txt"),
        "spacing": [2.0, 0.5],
    }
    assert case["targets"]["lesion"]["cell"] == "neither_empty"
    assert case["targets"]["lesion"]["metrics"].keys() == METRICS.keys()


def test_what_challenges_put_in_empty_cells_is_declared(tmp_path):
    summary = evaluate_files(cases_of(tmp_path, CELLS), settings(protocol=PRESETS["brats-gli"])).summary
    assert summary["metrics"]["DSC"]["empty"] == {"both_empty": 1.0, "reference_empty": 0.0, "prediction_empty": 0.0}
    assert summary["metrics"]["HD95"]["empty"]["prediction_empty"] == 374.0
    nothing = next(case for case in summary["cases"] if case["case"] == "nothing")
    assert nothing["targets"]["lesion"]["metrics"]["DSC"] == 1.0


def test_both_files_say_what_was_measured(evaluation, tmp_path):
    evaluation.write(tmp_path)
    text = (tmp_path / "lesion_summary.json").read_text()
    assert json.loads(text, parse_constant=no_constant) == evaluation.summary
    with (tmp_path / "lesions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    header = "case,fold,target,kind,id,status,voxels,size,centre,matched,dice,iou,distance,hd95"
    assert ",".join(rows[0]) == header
    assert [(row["case"], row["kind"], row["id"], row["status"]) for row in rows] == [
        ("neither", "lesion", "1", "true_positive"),
        ("neither", "lesion", "2", "true_positive"),
        ("neither", "component", "1", "true_positive"),
        ("neither", "component", "2", "true_positive"),
        ("no_prediction", "lesion", "1", "missed"),
        ("no_reference", "component", "1", "false_positive"),
    ]
    assert rows[0] == {
        "case": "neither",
        "fold": "",
        "target": "lesion",
        "kind": "lesion",
        "id": "1",
        "status": "true_positive",
        "voxels": "2",
        "size": "2",
        "centre": "0 0.5",
        "matched": "1",
        "dice": "0.5",
        "iou": "0.3333333333",
        "distance": "0",
        "hd95": "2",
    }
    assert [rows[4][name] for name in ("matched", "dice", "distance", "hd95")] == ["", "0", "", ""]


def test_what_is_written_can_be_read_again(tmp_path):
    cases = [
        CaseFiles(case.case, case.reference, case.prediction, fold=number)
        for number, case in enumerate(cases_of(tmp_path, CELLS))
    ]
    evaluation = evaluate_files(cases, settings(sensitivity=variations(Protocol())[:2]))
    evaluation.write(tmp_path)
    again = read_evaluation(tmp_path)
    assert again.summary == evaluation.summary
    for there, here in zip(evaluation.lesions, again.lesions, strict=True):
        assert here[:3] == there[:3]
        for value, parsed in zip(astuple(there[3]), astuple(here[3]), strict=True):
            if isinstance(value, float):
                assert parsed == pytest.approx(value, rel=1e-5, nan_ok=True)
            else:
                assert parsed == value
    # Rounding happens once.
    assert list(again.rows) == list(evaluation.rows)


def test_files_of_another_format_are_refused(evaluation, tmp_path):
    evaluation.summary["format"] = 0
    evaluation.write(tmp_path)
    with pytest.raises(EvaluationError, match="has the format 0"):
        read_evaluation(tmp_path)


def test_classes_regions_and_what_is_ignored(tmp_path):
    cases = cases_of(tmp_path, {"a": ("12.99.\n1....3", "11.22.\n1....3")})
    targets = [Target("one", (1,)), Target("two", (2,)), Target("all", (1, 2, 3))]
    found = evaluate_files(cases, settings(targets=targets, ignore_label=9)).summary["cases"][0]["targets"]
    assert {name: [entry["counts"][key] for key in ("TP", "FP", "FN", "TN")] for name, entry in found.items()} == {
        "one": [2, 1, 0, 7],
        "two": [0, 0, 1, 9],
        "all": [4, 0, 0, 6],
    }
    assert [found[name]["counts"]["components"] for name in found] == [1, 0, 2]
    assert found["two"]["cell"] == "prediction_empty"


def test_strata_are_of_the_level_that_the_protocol_says(tmp_path):
    drawings = {"a": ("1...", "1..."), "b": ("1.11", "..11"), "c": ("1111", "....")}
    lesions, images = (
        evaluate_files(cases_of(tmp_path, drawings), settings(protocol=protocol)).summary["targets"]["lesion"]["strata"]
        for protocol in (Protocol(), PRESETS["s3mamba"])
    )
    assert [stratum["counts"]["lesions"] for stratum in lesions] == [2, 1, 1]
    assert [stratum["counts"]["cases"] for stratum in images] == [1, 1, 1]
    assert [stratum["metrics"]["lesion_recall"] for stratum in images] == [1.0, 0.5, 0.0]
    assert "DSC" in images[0]["metrics"]


def test_sensitivity_counts_under_every_protocol(tmp_path):
    # Two diagonal pixels, of which one is predicted.
    cases = cases_of(tmp_path, {"a": ("1.\n.1", "1.\n..")})
    protocols = variations(Protocol())
    summary = evaluate_files(cases, settings(sensitivity=protocols)).summary
    recall = {
        entry["protocol"]["name"]: entry["targets"]["lesion"]["pooled"]["lesion_recall"]
        for entry in summary["sensitivity"]
    }
    assert (recall["default"], recall["connectivity faces"]) == (1.0, 0.5)
    assert [entry["protocol_hash"] for entry in summary["sensitivity"]] == [protocol.hash for protocol in protocols]
    assert set(summary["sensitivity"][0]["targets"]["lesion"]["pooled"]) == {
        name for name, metric in METRICS.items() if metric.scope == "lesions"
    } - {"lesionwise_hd95"}


def test_pixels_without_a_size_are_pixels(tmp_path):
    cases = cases_of(tmp_path, {"a": ("1.", "11")})
    summary = evaluate_files(cases, settings(reader=DrawingReader())).summary
    units = {name: summary["metrics"][name]["unit"] for name in ("HD95", "predicted_volume", "fp_volume_per_case")}
    assert summary["unit"] == "px"
    assert units == {"HD95": "px", "predicted_volume": "px", "fp_volume_per_case": "px per case"}


def test_a_missing_prediction_is_an_error_or_counts_as_empty(tmp_path):
    cases = cases_of(tmp_path, {"a": ("1.", "1."), "b": ("11", None), "c": ("..", None)})
    with pytest.raises(EvaluationError, match=r"2 of 3 cases have no prediction \(b, c\): .*--allow-missing"):
        evaluate_files(cases, settings())
    allowed = evaluate_files(cases, settings(), allow_missing=True).summary
    empty = cases_of(tmp_path, {"a": ("1.", "1."), "b": ("11", ".."), "c": ("..", "..")})
    assert allowed["targets"] == evaluate_files(empty, settings()).summary["targets"]
    assert [case["prediction_file"] for case in allowed["cases"][1:]] == [None, None]


def test_no_case_is_an_error():
    with pytest.raises(EvaluationError, match="there is no case to evaluate"):
        evaluate_files([], settings())


def test_images_and_volumes_are_not_evaluated_together(tmp_path):
    cases = cases_of(tmp_path, {"a": ("1.", "1."), "b": ("1. ..", "1. ..")})
    with pytest.raises(EvaluationError, match="some cases are images and some are volumes"):
        evaluate_files(cases, settings(reader=DrawingReader()))


def test_neither_order_nor_processes_matter(tmp_path, in_processes):
    cases = cases_of(tmp_path, CELLS)
    alone = evaluate_files(cases, settings(), processes=1)
    together = evaluate_files(cases[::-1], settings(), processes=2)
    assert together.summary == alone.summary
    assert list(together.rows) == list(alone.rows)
    assert [case["case"] for case in alone.summary["cases"]] == sorted(CELLS)


def test_an_error_in_a_process_is_the_same_error(tmp_path, in_processes):
    cases = cases_of(tmp_path, CELLS | {"other_size": ("1..\n...", "1..")})
    errors = []
    for processes in (1, 2):
        with pytest.raises(GeometryError) as error:
            evaluate_files(cases, settings(), processes=processes)
        errors.append(str(error.value))
    assert errors[0] == errors[1]
    assert all(str(tmp_path / kind / "other_size.txt") in errors[0] for kind in ("reference", "prediction"))
    assert "has the shape 1 x 3 and its reference" in errors[0]


def test_a_killed_process_is_an_error_in_a_sentence(tmp_path, in_processes):
    cases = cases_of(tmp_path, CELLS | {"large": ("1", KILLS)})
    with pytest.raises(EvaluationError, match=r"a process was killed, perhaps for want of memory: .* -np") as error:
        evaluate_files(cases, settings(), processes=2)
    assert "\n" not in str(error.value)


def test_a_few_small_cases_start_no_process(tmp_path, monkeypatch):
    monkeypatch.delattr(parallel, "ProcessPoolExecutor")
    assert len(evaluate_files(cases_of(tmp_path, CELLS), settings(), processes=8).summary["cases"]) == 4


def test_the_rest_is_left_to_processes_once_it_takes_long(monkeypatch):
    monkeypatch.setattr(parallel, "INLINE_SECONDS", -1.0)
    started = []
    monkeypatch.setattr(parallel, "_in_processes", lambda work, tasks, processes: started.append(processes) or tasks)
    assert list(parallel.for_each(abs, [1, 2, 3], 8)) == [1, 2, 3]
    assert list(parallel.for_each(abs, [-1, -2], 1)) == [1, 2]
    assert started == [3]


def test_numbers_that_are_not_finite_are_null(tmp_path):
    evaluation = evaluate_files(cases_of(tmp_path, {"nothing": CELLS["nothing"]}), settings())
    target = evaluation.summary["targets"]["lesion"]
    assert target["pooled"]["DSC"] is None
    assert target["strata"][0]["upper"] is None
    assert not any(isinstance(value, float) and math.isnan(value) for value in target["mean"].values())
    evaluation.write(tmp_path)
    assert list(read_evaluation(tmp_path).rows) == []


@pytest.mark.parametrize("side", [0, 1], ids=["reference", "prediction"])
def test_values_that_dataset_json_does_not_name_are_refused(tmp_path, side):
    texts = ["1..", "1.."]
    texts[side] = "1.7"
    with pytest.raises(EvaluationError, match=r"has the values 7, which dataset\.json does not name"):
        evaluate_files(cases_of(tmp_path, {"a": tuple(texts)}), settings(known=frozenset({0, 1})))


def test_a_stamp_tells_whether_files_are_the_same(tmp_path):
    case = cases_of(tmp_path, {"a": ("1..", "1..")})[0]
    before = case.stamp()
    assert case.stamp() == before
    case.prediction.write_text("..1")
    assert {name for name, value in case.stamp().items() if value != before[name]} == {"prediction"}


def test_results_that_are_not_whole_are_refused(tmp_path, evaluation):
    evaluation.write(tmp_path)
    lesions = tmp_path / "lesions.csv"
    lesions.write_text("".join(lesions.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(EvaluationError, match=r"lesion_summary\.json cannot be used, evaluate again: lesions\.csv has"):
        read_evaluation(tmp_path)


def test_a_summary_without_entries_is_refused(tmp_path, evaluation):
    evaluation.write(tmp_path)
    (tmp_path / "lesion_summary.json").write_text('{"format": 1}')
    with pytest.raises(EvaluationError, match="cannot be used, evaluate again"):
        read_evaluation(tmp_path)


def test_cases_that_a_network_was_trained_on_are_warned_of(tmp_path):
    about = {"folds": ["all"], "trained_on_cases": True}
    summary = evaluate_files(cases_of(tmp_path, {"a": ("1", "1")}), settings(), about=about).summary
    assert ["trained on these very cases" in warning for warning in summary["warnings"]] == [True]


def test_the_stamp_knows_the_size_of_probabilities(tmp_path):
    case = cases_of(tmp_path, {"a": ("1..", "1..")})[0]
    file = tmp_path / "a.npz"
    file.write_bytes(b"four")
    stamped = CaseFiles(case.case, case.reference, case.prediction, probabilities=file).stamp()
    assert (case.stamp()["probabilities"], stamped["probabilities"]) == (None, 4)


def test_names_in_any_script_are_written_and_read(tmp_path):
    targets = [Target("Läsion", (1,))]
    evaluation = evaluate_files(cases_of(tmp_path, {"眼_1": ("1..", "1..")}), settings(targets=targets))
    evaluation.write(tmp_path)
    assert "眼_1,,Läsion" in (tmp_path / "lesions.csv").read_text(encoding="utf-8")
    assert read_evaluation(tmp_path).summary == evaluation.summary


def test_a_protocol_with_an_unknown_metric_is_refused_before_anything_is_read(tmp_path):
    case = CaseFiles("a", tmp_path / "nothing", tmp_path / "nothing")
    protocol = Protocol(empty_values=(("Dice", "both_empty", 1.0),))
    with pytest.raises(ValueError, match="names the metric 'Dice'"):
        evaluate_files([case], settings(protocol=protocol))
