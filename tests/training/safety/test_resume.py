"""A training killed again and again ends as one that never was, and no death leaves half a checkpoint."""

import json
import random
from multiprocessing.connection import Connection
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import numpy as np
import pytest
import torch

from nnunetv2_mamba.training.safety.safe_checkpoint import EXTRAS_KEY
from tests.training import resumable
from tests.training.conftest import Start

KILLS = 10
PATIENCE = 120
"""Seconds for what takes a few of them."""


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("resume")
    resumable.write_dataset(folder)
    return folder


def fold(root: Path, results: str) -> Path:
    return root / results / resumable.DATASET / "ResumableTrainer__nnUNetPlans__toy" / "fold_0"


def next_epoch(epochs: Connection) -> int | None:
    """The next epoch that a process starts, None when it has ended."""
    assert epochs.poll(PATIENCE), "the training hangs"
    try:
        return epochs.recv()
    except EOFError:
        return None


def finish(root: Path, start: Start, results: str) -> float:
    """Train to the end; the median time of an epoch in seconds."""
    process, epochs = start(resumable.train, root, results)
    starts = []
    while next_epoch(epochs) is not None:
        starts.append(monotonic())
    process.join(PATIENCE)
    assert process.exitcode == 0, (root / f"{results}.txt").read_text()[-3000:]
    return float(np.median(np.diff(starts))) if len(starts) > 1 else 0.0


def assert_same(first: Any, second: Any, where: str = "") -> None:
    """Equal to the last bit, in everything but the time."""
    assert type(first) is type(second), where
    if isinstance(first, dict):
        assert first.keys() == second.keys(), where
        for key in first.keys() - {"epoch_start_timestamps", "epoch_end_timestamps"}:
            assert_same(first[key], second[key], f"{where}/{key}")
    elif isinstance(first, list | tuple):
        assert len(first) == len(second), where
        for number, pair in enumerate(zip(first, second, strict=True)):
            assert_same(*pair, f"{where}/{number}")
    elif isinstance(first, torch.Tensor):
        assert torch.equal(first, second), where
    else:
        assert np.array_equal(first, second, equal_nan=isinstance(first, float | np.floating | np.ndarray)), where


def load(path: Path) -> dict:
    return torch.load(path, map_location="cpu", weights_only=False)


def test_ten_random_kills_change_nothing(root, start):
    epoch_time = finish(root, start, "whole")
    rng = random.Random(0)
    kills, killed_in = 0, set()
    while kills < KILLS:
        process, epochs = start(resumable.train, root, "killed")
        epoch = next_epoch(epochs)
        if epoch is not None and rng.random() < 0.7:
            epoch = next_epoch(epochs)
        if epoch is None:
            # It has come to its end before; the rest of the kills hit one that starts anew.
            process.join(PATIENCE)
            assert process.exitcode == 0, (root / "killed.txt").read_text()[-3000:]
            assert_ended_alike(root)
            (root / "killed").rename(root / f"killed_{kills}")
            continue
        sleep(rng.uniform(0, 1.2 * epoch_time))
        process.kill()
        process.join(PATIENCE)
        kills += process.exitcode == -9
        killed_in.add(epoch)
        for file in fold(root, "killed").glob("*.pth"):
            load(file)
    assert len(killed_in) > 3
    finish(root, start, "killed")
    assert_ended_alike(root)


def assert_ended_alike(root: Path) -> None:
    whole, killed = fold(root, "whole"), fold(root, "killed")
    checkpoints = {"checkpoint_best.pth", "checkpoint_final.pth"}
    for folder in (whole, killed):
        assert {file.name for file in folder.iterdir() if file.name.startswith("checkpoint")} == checkpoints
    for name in checkpoints:
        assert_same(load(whole / name), load(killed / name), name)
    final = load(killed / "checkpoint_final.pth")
    assert final["current_epoch"] == resumable.EPOCHS
    assert final["optimizer_state"][EXTRAS_KEY]["curriculum"]


def test_no_death_while_saving_leaves_half_a_checkpoint(root, start):
    process, _ = start(resumable.die_while_saving, root, "dying")
    process.join(PATIENCE)
    assert process.exitcode == 0, (root / "dying.txt").read_text()[-3000:]
    report = json.loads((root / "deaths.json").read_text())
    deaths = report["deaths"]
    assert all(death["died"] for death in deaths), deaths
    content = {death["death"]: death["content"] for death in deaths}
    assert content.pop("after renaming") == "new"
    assert set(content.values()) == {"old"}, deaths
    # What the dead left aside is gone with the next checkpoint.
    assert [name for name in report["names"] if "checkpoint" in name] == ["checkpoint_latest.pth"]


def test_a_second_training_of_a_fold_is_refused_and_the_first_goes_on(root, start):
    process, epochs = start(resumable.train, root, "twice")
    assert next_epoch(epochs) is not None
    second, _ = start(resumable.train, root, "twice")
    second.join(PATIENCE)
    assert second.exitcode == 1
    said = (root / "twice.txt").read_text()
    assert f"TrainingRunningError: another training of this fold is running, process {process.pid} on " in said
    process.join(PATIENCE)
    assert process.exitcode == 0, said[-3000:]
    assert_ends_whole(root, "twice")


def test_two_trainings_of_a_fold_survive_each_other_where_nothing_can_be_locked(root, start):
    both = [start(resumable.train_without_locks, root, "both") for _ in range(2)]
    for process, _ in both:
        process.join(PATIENCE)
    assert [process.exitcode for process, _ in both] == [0, 0], (root / "both.txt").read_text()[-3000:]
    assert_ends_whole(root, "both")


def assert_ends_whole(root: Path, results: str) -> None:
    assert load(fold(root, results) / "checkpoint_final.pth")["current_epoch"] == resumable.EPOCHS
    left = {path.name for path in fold(root, results).iterdir() if "checkpoint" in path.name}
    assert left == {"checkpoint_best.pth", "checkpoint_final.pth"}
