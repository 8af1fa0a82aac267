"""One process at a time trains in a folder, unless the file system cannot tell."""

import errno
import fcntl
import gc
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from nnunetv2_mamba.training.safety.training_lock import LOCK_FILE, TrainingLock, TrainingRunningError

OWNER = """
import os, sys, time
from pathlib import Path
from nnunetv2_mamba.training.safety.training_lock import TrainingLock

lock = TrainingLock(Path(sys.argv[1]))
worker = os.fork() if sys.argv[2] == "with worker" else None
if worker == 0:
    time.sleep(60)
print("locked", worker, flush=True)
time.sleep(60)
"""


class Owner:
    """Another process that holds the lock on a folder."""

    def __init__(self, folder: Path, worker: bool = False) -> None:
        arguments = [sys.executable, "-c", OWNER, str(folder), "with worker" if worker else "alone"]
        self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
        self.worker = self.process.stdout.readline().split()[1]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def owner_in(folder: Path) -> dict:
    return json.loads((folder / LOCK_FILE).read_text())


def test_a_second_process_is_told_which_one_trains(tmp_path):
    owner = Owner(tmp_path)
    try:
        with pytest.raises(TrainingRunningError) as refusal:
            TrainingLock(tmp_path)
    finally:
        owner.kill()
    for part in (f"process {owner.process.pid} on {socket.gethostname()} since 20", str(tmp_path), "--c"):
        assert part in str(refusal.value)


@pytest.mark.parametrize("worker", [False, True])
def test_a_killed_owner_stops_nobody_nor_do_its_workers(tmp_path, worker):
    owner = Owner(tmp_path, worker)
    owner.kill()
    try:
        assert owner_in(tmp_path)["process"] == owner.process.pid
        lock = TrainingLock(tmp_path)
        assert owner_in(tmp_path)["process"] == os.getpid()
        del lock
    finally:
        if worker:
            os.kill(int(owner.worker), 9)


def test_the_file_goes_with_the_process(tmp_path):
    with subprocess.Popen([sys.executable, "-c", OWNER.replace("60", "0"), str(tmp_path), "alone"]) as owner:
        assert owner.wait() == 0
    assert not list(tmp_path.iterdir())


def test_the_file_goes_with_the_lock(tmp_path):
    lock = TrainingLock(tmp_path / "results" / "fold_0")
    assert (tmp_path / "results" / "fold_0" / LOCK_FILE).exists()
    del lock
    gc.collect()
    assert not list((tmp_path / "results" / "fold_0").iterdir())


def test_a_process_does_not_stop_itself(tmp_path):
    """In a notebook the trainer of the last run may still be around."""
    first = TrainingLock(tmp_path)
    second = TrainingLock(tmp_path)
    assert first is not second


def test_a_file_system_without_locks_stops_nobody(tmp_path, monkeypatch):
    def refuse(file, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    assert TrainingLock(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_stops_nobody(tmp_path):
    file = tmp_path / "fold_0"
    file.touch()
    assert TrainingLock(file)


@pytest.mark.parametrize("content", ["", "{}", "[]", "not JSON"])
def test_an_owner_without_a_name_is_an_owner(tmp_path, content):
    owner = Owner(tmp_path)
    (tmp_path / LOCK_FILE).write_text(content)
    try:
        with pytest.raises(TrainingRunningError, match=f"is running, the owner of {LOCK_FILE}, and writes"):
            TrainingLock(tmp_path)
    finally:
        owner.kill()
