"""The comparison of the rows, and the tables in benchmarks/results/ablation.md."""

import json
from pathlib import Path

import pytest

from benchmarks.ablation import figure, markdown
from benchmarks.ablation.data import AblationError, Budget
from benchmarks.ablation.report import compare
from benchmarks.ablation.rows import BASELINE, PARTS, ROWS
from benchmarks.ablation.runs import Run

ROOT = Path(__file__).parents[2]
BUDGETS = {"idrid_fundus_tiles": Budget(2, 3, 64, 2)}
WORTH = {"EnCF": 10, "TCMA": 20, "CL": -5}
IMAGES = ["IDRiD_17_a", "IDRiD_17_b", "IDRiD_18_a", "IDRiD_19_a"]


def counts(right):
    """An image with one lesion of 100 pixels: Dice grows with the number of `right` pixels."""
    return {
        "TP": right,
        "FP": 100 - right,
        "FN": 100 - right,
        "lesions": [100],
        "true_positive_lesions": [right > 0],
        "components": 1,
        "true_positive_components": int(right > 0),
    }


def result(right, classes=("one", "two"), batches=("first", "last")):
    cases = {image: dict.fromkeys(classes, counts(right)) for image in IMAGES}
    off = {image: dict.fromkeys(classes, counts(right - 2)) for image in IMAGES}
    costs = dict.fromkeys(("parameters", "train_cpu_seconds", "peak_memory_MiB"), 1.0)
    machine = {"device": "cpu", "cores": 2, "versions": {"torch": "2"}}
    return {**costs, "machine": machine, "batches": list(batches), "scores": {"as trained": cases, "TCMA off": off}}


@pytest.fixture
def finished():
    """Two seeds of all rows whose parts are worth a known number of pixels of 100."""
    return {
        Run("idrid_fundus_tiles", row, seed): result(50 + seed + sum(WORTH[part] for part in parts))
        for seed in (0, 1)
        for row, parts in ROWS.items()
    }


@pytest.fixture
def report(finished):
    return compare(finished, BUDGETS, resamples=20)


def dice(summaries, name="two"):
    return summaries[name]["Dice"]


def test_each_row_has_its_own_score(report):
    rows = report["datasets"]["idrid_fundus_tiles"]["rows"]
    assert dice(rows[BASELINE], "one")["seeds"] == [0.5, 0.51]
    assert dice(rows["S3-Mamba"])["mean"] == pytest.approx(0.755)


def test_differences_to_the_baseline(report):
    differences = report["datasets"]["idrid_fundus_tiles"]["to_baseline"]
    assert BASELINE not in differences
    for row, parts in ROWS.items():
        if parts:
            worth = sum(WORTH[part] for part in parts) / 100
            assert dice(differences[row])["mean"] == pytest.approx(worth)
            assert dice(differences[row])["interval"] == pytest.approx([worth, worth])


@pytest.mark.parametrize("part", PARTS)
def test_the_effect_of_a_part_is_what_it_is_worth(report, part):
    effect = report["datasets"]["idrid_fundus_tiles"]["parts"][part]
    assert dice(effect)["mean"] == pytest.approx(WORTH[part] / 100)


def test_switching_tcma_off(report):
    off = report["datasets"]["idrid_fundus_tiles"]["tcma_off"]
    assert set(off) == {row for row, parts in ROWS.items() if "TCMA" in parts}
    assert all(dice(summaries)["mean"] == pytest.approx(-0.02) for summaries in off.values())


def test_tiles_are_counted_by_eye(report):
    dataset = report["datasets"]["idrid_fundus_tiles"]
    assert (dataset["images"], dataset["clusters"]) == (4, 3)


def test_only_complete_seeds_count(finished):
    finished[Run("idrid_fundus_tiles", "CL", 1)] = {"failed": "the training loss of epoch 1 is nan"}
    dataset = compare(finished, BUDGETS, resamples=5)["datasets"]["idrid_fundus_tiles"]
    assert dataset["seeds"] == [0]
    assert dataset["failed"] == [{"row": "CL", "seed": 1, "reason": "the training loss of epoch 1 is nan"}]


def test_nothing_complete_is_an_error(finished):
    del finished[Run("idrid_fundus_tiles", "CL", 0)], finished[Run("idrid_fundus_tiles", "CL", 1)]
    with pytest.raises(AblationError, match="no seed is complete"):
        compare(finished, BUDGETS, resamples=5)


def test_rows_that_saw_other_batches_are_not_compared(finished):
    finished[Run("idrid_fundus_tiles", "TCMA", 1)] = result(70, batches=("first", "another"))
    with pytest.raises(AblationError, match="TCMA saw other batches than VM-UNet in seed 1"):
        compare(finished, BUDGETS, resamples=5)


def test_the_tables_show_the_figures(report):
    text = markdown.tables(json.loads(json.dumps(report)))
    assert "| VM-UNet | 0.505 [0.505, 0.505] |" in text
    assert "| TCMA | +0.200 [+0.200, +0.200] |" in text
    assert "Failed trainings: none;" in text


def test_what_is_written_by_hand_stays(report, tmp_path):
    file = tmp_path / "results.md"
    file.write_text("# Results\n\nOur thoughts.\n\n" + markdown.MARK + "\n\nold tables\n")
    markdown.update(file, report)
    assert file.read_text().startswith("# Results\n\nOur thoughts.\n")
    assert "old tables" not in file.read_text()


def test_the_figure_can_be_drawn_with_a_score_that_is_not_defined(report, tmp_path):
    undefined = {"mean": None, "interval": None, "seeds": [None, 0.5]}
    report["datasets"]["idrid_fundus_tiles"]["to_baseline"]["CL"]["one"]["precision"] = undefined
    figure.draw(report, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000


def test_the_kept_tables_are_those_of_the_kept_figures():
    report = json.loads((ROOT / "benchmarks/results/ablation.json").read_text())
    kept = (ROOT / "benchmarks/results/ablation.md").read_text().partition(markdown.MARK)[2]
    assert kept.strip() == markdown.tables(report).strip()
