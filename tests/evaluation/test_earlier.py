"""Results of format 1, as the version 0.1.0 has written them, are read in the words of this version."""

import csv
import json
from collections import Counter
from pathlib import Path

import pytest

from nnunetv2_mamba.evaluation.metrics import METRICS
from nnunetv2_mamba.evaluation.protocol import Protocol
from nnunetv2_mamba.evaluation.results import FORMAT, read_evaluation
from nnunetv2_mamba.evaluation.text import lines_of, sensitivity_lines

FOLDER = Path(__file__).parent / "format_1"


@pytest.fixture(scope="module")
def before():
    return json.loads((FOLDER / "lesion_summary.json").read_text())


@pytest.fixture(scope="module")
def evaluation():
    return read_evaluation(FOLDER)


def test_counts_have_the_same_values_under_new_names(before, evaluation):
    old, new = (summary["targets"]["blob"] for summary in (before, evaluation.summary))
    assert new["counts"]["true_positive_lesions"] == old["counts"]["found"] > 0
    assert new["counts"]["true_positive_components"] == old["counts"]["right"]
    assert new["counts"]["false_positive_volume"] == old["counts"]["invented_volume"]
    assert new["lesion_free"]["with_false_positives"] == old["lesion_free"]["with_inventions"]
    assert new["pooled"]["true_positive_dice"] == old["pooled"]["found_dice"]
    # Every metric of the file under a name of today; it has none that came later.
    assert new["pooled"].keys() <= METRICS.keys()
    assert len(new["pooled"]) == len(old["pooled"])
    assert new["mean"].keys() == new["defined"].keys() <= METRICS.keys()
    assert len(new["mean"]) == len(old["mean"])
    for ours, theirs in zip(new["strata"], old["strata"], strict=True):
        assert ours["counts"]["true_positive_lesions"] == theirs["counts"]["found"]
    for ours, theirs in zip(evaluation.summary["cases"], before["cases"], strict=True):
        counts = theirs["targets"]["blob"]["counts"]
        assert ours["targets"]["blob"]["counts"]["true_positive_lesions"] == counts["found"]
        assert ours["targets"]["blob"]["metrics"].keys() == new["mean"].keys()


def test_nothing_else_changes(before, evaluation):
    same = before.keys() - {"format", "metrics", "targets", "cases", "sensitivity", "protocol"}
    assert {key: evaluation.summary[key] for key in same} == {key: before[key] for key in same}
    assert evaluation.summary["format"] == FORMAT
    assert Protocol.from_dict(evaluation.summary["protocol"]).hash == before["protocol_hash"]


def test_rows_have_the_new_statuses(evaluation):
    with (FOLDER / "lesions.csv").open(newline="") as file:
        old = Counter((row["kind"], row["status"]) for row in csv.DictReader(file))
    new = Counter((part.kind, part.status) for *_, part in evaluation.lesions)
    names = {"found": "true_positive", "right": "true_positive", "invented": "false_positive", "missed": "missed"}
    assert new == {(kind, names[status]): number for (kind, status), number in old.items()}


def test_they_can_be_printed_and_written_again(evaluation, tmp_path):
    assert any("recall" in line for line in lines_of(evaluation.summary))
    assert any("connectivity faces" in line for line in sensitivity_lines(evaluation.summary))
    evaluation.write(tmp_path)
    again = read_evaluation(tmp_path)
    assert again.summary == evaluation.summary
    assert list(again.rows) == list(evaluation.rows)


def test_a_target_with_the_name_of_a_count_keeps_its_name(before, tmp_path):
    text = json.dumps(before).replace('"blob"', '"right"')
    (tmp_path / "lesion_summary.json").write_text(text)
    (tmp_path / "lesions.csv").write_text((FOLDER / "lesions.csv").read_text().replace(",blob,", ",right,"))
    summary = read_evaluation(tmp_path).summary
    assert list(summary["targets"]) == list(summary["cases"][0]["targets"]) == ["right"]


def test_a_protocol_may_name_a_metric_as_before():
    values = [("found_dice", "both_empty", 1.0)]
    assert Protocol(empty_values=values).empty_values == (("true_positive_dice", "both_empty", 1.0),)
