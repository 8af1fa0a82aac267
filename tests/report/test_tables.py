"""Values of different cases are not compared; metrics that are not defined move nothing."""

import json
import math
from dataclasses import replace
from functools import partial

import pytest

from nnunetv2_mamba.evaluation.metrics import METRICS, pooled
from nnunetv2_mamba.evaluation.presets import PRESETS
from nnunetv2_mamba.evaluation.protocol import Protocol
from nnunetv2_mamba.report.metric_tables import DIFFERENT_CASES, cost_table, overview, protocol_table
from nnunetv2_mamba.report.scores import ModelResult, ModelScores
from nnunetv2_mamba.report.sensitivity import order_changes, sensitivity_table
from nnunetv2_mamba.report.statistics import Resampling
from nnunetv2_mamba.report.wording import DASH
from tests.report.models import model

DESCRIPTIONS = {name: metric.as_dict("px", 2, Protocol()) for name, metric in METRICS.items()}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return [model(folder, "good", 0.9, images=False), model(folder, "bad", 0.4, images=False, seed=3)]


def row_of_dice(*sources):
    """Cells of recall and of Dice of each model, and the notes."""
    results = []
    for place, source in enumerate(sources):
        cases = source.cases("lesion")
        resampling = Resampling(cases.names, draws=50)
        scores = ModelScores(cases, resampling, partial(pooled, protocol=Protocol()))
        entry = source.summary["targets"]["lesion"]
        results.append(
            ModelResult(
                place=place,
                name=source.name,
                entry=entry,
                scores=scores,
                resampling=resampling,
                lesions=source.lesions("lesion"),
            )
        )
    table = overview(results, DESCRIPTIONS)
    heads = [column.label.split("\u00a0")[0] for column in table.columns]
    return [(row[heads.index("lesion recall")], row[heads.index("Dice")]) for row in table.rows], table.notes


def without_dice(source, number):
    summary = json.loads(json.dumps(source.summary))
    for case in summary["cases"][:number]:
        case["targets"]["lesion"]["metrics"]["DSC"] = None
    return replace(source, summary=summary)


def test_the_best_is_bold_where_cases_are_the_same(sources):
    cells, notes = row_of_dice(*sources)
    assert [[cell.best for cell in row] for row in cells] == [[True, True], [False, False]]
    assert all(not cell.cases for row in cells for cell in row)
    assert DIFFERENT_CASES not in notes


def test_means_of_other_cases_have_their_number_and_none_is_bold(sources):
    models = sources[0], without_dice(sources[1], 4)
    cells, notes = row_of_dice(*models)
    assert [row[0].best for row in cells] == [True, False]
    assert not any(row[1].best for row in cells)
    defined = [
        sum(entry["targets"]["lesion"]["metrics"]["DSC"] is not None for entry in source.summary["cases"])
        for source in models
    ]
    assert defined[0] > defined[1]
    assert [row[1].cases for row in cells] == [f"n\u00a0=\u00a0{number}" for number in defined]
    assert DIFFERENT_CASES in notes


def test_pooled_values_of_other_cases_are_not_bold_either(sources):
    fewer = replace(sources[1], summary=sources[1].summary | {"cases": sources[1].summary["cases"][:8]})
    cells, _ = row_of_dice(sources[0], fewer)
    assert not any(cell.best for row in cells for cell in row)
    assert [row[0].cases for row in cells] == ["n\u00a0=\u00a012", "n\u00a0=\u00a08"]


def test_costs_that_nobody_knows_have_no_column():
    known = {"parameters": 5_000_000, "epoch_seconds": None, "peak_memory_bytes": None, "device": "cpu"}
    table = cost_table(["a", "b"], [None, known])
    assert [column.label for column in table.columns] == ["model", "parameters", "device"]
    assert [[cell.text for cell in row] for row in table.rows] == [["a", DASH, DASH], ["b", "5.00 M", "cpu"]]
    assert cost_table(["a", "b"], [None, {}]) is None


def values(recall):
    return {"lesion_recall": recall, "lesion_precision": 0.5, "lesion_f1": 0.5}


def test_a_protocol_under_which_a_metric_is_not_defined_is_in_no_range():
    rows = [("default", [values(0.5), values(0.6)]), ("large", [values(math.nan), values(math.nan)])]
    table = sensitivity_table(rows, ["a", "b"])
    assert [cell.text for cell in table.rows[-1][1:]] == [DASH, DASH, "0.000", "0.000", "0.000", "0.000"]
    assert "not defined under this protocol" in table.notes[0]
    rows.append(("third", [values(0.7), values(0.1)]))
    table = sensitivity_table(rows, ["a", "b"])
    assert (table.rows[-1][1].text, table.rows[-1][1].note) == ("0.200", "of 2 protocols")
    assert sensitivity_table(rows[:1], ["a", "b"]).notes == []


def test_a_protocol_that_changes_the_order_of_models_is_named():
    rows = [("default", [values(0.5), values(0.6)]), ("third", [values(0.7), values(0.1)])]
    recall, precision, _ = order_changes(rows, ["a", "b"])
    assert recall == "lesion recall: b is above a, but below under “third”."
    assert precision == "lesion precision: no protocol changes the order of the models."
    assert order_changes(rows, ["a"]) == []


def test_every_field_of_a_protocol_has_a_row():
    protocol = PRESETS["brats-met"].as_dict()
    rows = {row[0].text: row[1].text for row in protocol_table(protocol).rows}
    assert rows.keys() == protocol.keys() - {"name", "strata"} | {f"strata: {key}" for key in protocol["strata"]}
    assert (rows["missed_distance"], rows["strata: bounds"]) == ("374", "0.3333; 0.6667")
    assert "HD95 both_empty 0" in rows["empty_values"]
