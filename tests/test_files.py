"""Files are written aside by each process under a name of its own, and what a killed process left is removed."""

import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from nnunetv2_mamba import files
from nnunetv2_mamba.files import ABANDONED_AFTER, remove_abandoned, written_aside


@pytest.fixture
def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def make(folder: Path, name: str, age: float = 0.0) -> Path:
    file = folder / name
    file.write_bytes(b"half")
    written = file.stat().st_mtime - age
    os.utime(file, (written, written))
    return file


def test_the_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "result.json"
    with written_aside(path) as aside:
        aside.write_text("whole")
        assert not path.exists()
        assert aside.parent == tmp_path
    assert [file.name for file in tmp_path.iterdir()] == ["result.json"]
    assert path.read_text() == "whole"


def test_a_failure_leaves_the_old_file_alone(tmp_path):
    path = make(tmp_path, "result.json")
    with suppress(OSError), written_aside(path) as aside:
        aside.write_text("new")
        raise OSError("disk full")
    assert [file.name for file in tmp_path.iterdir()] == ["result.json"]
    assert path.read_bytes() == b"half"


def test_the_name_aside_tells_process_and_host_apart_and_keeps_the_host_private(tmp_path, monkeypatch):
    with written_aside(tmp_path / "a.pth") as aside:
        aside.touch()
        name = aside.name
    assert re.fullmatch(rf"\.a\.pth\.[0-9a-f]{{8}}-{os.getpid()}\.partial", name)
    monkeypatch.setattr(files, "_HOST", "0" * 8)
    with written_aside(tmp_path / "a.pth") as aside:
        aside.touch()
        assert aside.name != name


def test_what_a_dead_process_left_is_removed(tmp_path, dead_process):
    make(tmp_path, f".checkpoint_latest.pth.{files._HOST}-{dead_process}.partial")
    remove_abandoned(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name",
    [
        ".checkpoint_latest.pth.{host}-{alive}.partial",
        ".checkpoint_latest.pth.00000000-{dead}.partial",
        "checkpoint_stock.partial",
        "checkpoint_whole.partial",
    ],
)
def test_what_may_have_a_living_owner_is_removed_after_a_day(tmp_path, dead_process, name):
    name = name.format(host=files._HOST, alive=os.getpid(), dead=dead_process)
    make(tmp_path, name, age=ABANDONED_AFTER - 60)
    remove_abandoned(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == [name]
    make(tmp_path, name, age=ABANDONED_AFTER + 60)
    remove_abandoned(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["download.partial", ".a.partial", "checkpoint_best.pth", ".a.pth.123.partial"])
def test_files_of_others_stay(tmp_path, name):
    make(tmp_path, name, age=10 * ABANDONED_AFTER)
    remove_abandoned(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_a_folder_that_is_not_there_has_nothing_to_remove(tmp_path):
    remove_abandoned(tmp_path / "missing")
