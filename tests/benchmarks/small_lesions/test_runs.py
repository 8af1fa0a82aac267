"""Trainings are planned seed by seed, run once, and their results add up."""

import json
from dataclasses import asdict

import pytest

from benchmarks.small_lesions import runs
from benchmarks.small_lesions.datasets import BenchmarkError, Workspace, _write_splits
from benchmarks.small_lesions.runs import Run, finished, planned, train_all


def test_all_trainings_of_a_seed_come_before_the_next_seed():
    order = planned(["a", "b"], ["t"], seeds=[0, 1], question="explore", budget="short")
    assert [(run.seed, run.dataset) for run in order] == [(0, "a"), (0, "b"), (1, "a"), (1, "b")]


@pytest.fixture
def started(monkeypatch):
    """Runs that were started; each ends at once, and every second one with an error."""
    started = []

    class Process:
        def __init__(self, returncode: int) -> None:
            self.returncode = returncode

        def poll(self) -> int:
            return self.returncode

    def start(workspace, run, *, results, device, jobs):
        started.append(run)
        fails = len(started) % 2 == 0
        if not fails:
            file = run.file(results)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps({"run": asdict(run), "cases": {}}))
        log = runs._log(workspace, run)
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("Traceback\nValueError: it did not work\n")
        return Process(int(fails))

    monkeypatch.setattr(runs, "_start", start)
    return started


def test_what_is_done_is_not_done_again_and_a_failure_is_named(started, tmp_path, capsys):
    order = planned(["a"], ["t", "u"], seeds=[0], question="test", budget="long")
    assert train_all(Workspace(tmp_path), order, results=tmp_path, device="cpu") == 1
    assert "u  seed 0  0 s  failed: ValueError: it did not work" in capsys.readouterr().out
    assert train_all(Workspace(tmp_path), order, results=tmp_path, device="cpu") == 0
    assert [run.trainer for run in started] == ["t", "u", "u"]
    assert [run for run, _ in finished(tmp_path)] == [Run("a", "test", "long", name, 0) for name in ("t", "u")]


def test_no_group_is_on_both_sides_of_a_fold(tmp_path):
    raw, preprocessed = tmp_path / "raw", tmp_path / "preprocessed"
    (raw / "labelsTr").mkdir(parents=True)
    preprocessed.mkdir()
    (raw / "dataset.json").write_text('{"file_ending": ".png"}')
    rows = ["id\tsplit\tgroup"]
    for number in range(12):
        (raw / "labelsTr" / f"case_{number}.png").touch()
        rows.append(f"case_{number}\tTr\tpatient_{number // 2}")
    (raw / "cases.tsv").write_text("\n".join(rows))
    _write_splits(raw, preprocessed)
    splits = json.loads((preprocessed / "splits_final.json").read_text())
    assert len(splits) == 5
    for fold in splits:
        sides = [{int(name.split("_")[1]) // 2 for name in fold[part]} for part in ("train", "val")]
        assert not sides[0] & sides[1]
        assert len(fold["train"]) + len(fold["val"]) == 12


def test_a_folder_that_is_not_a_dataset_is_refused(tmp_path):
    with pytest.raises(BenchmarkError, match=r"lacks dataset\.json, imagesTr"):
        Workspace(tmp_path / "work").prepare(tmp_path)
