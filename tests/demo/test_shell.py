"""Commands are printed as they are run, in the environment that was shown, and failures are named."""

import json
import subprocess
import sys

import pytest

from nnunetv2_mamba.demo import shell
from nnunetv2_mamba.demo.shell import CommandError, Shell, launcher


@pytest.fixture
def python_as_command(monkeypatch):
    monkeypatch.setattr(shell, "launcher", lambda name: [sys.executable])


def test_prints_command_before_its_output(python_as_command, tmp_path, capfd):
    Shell(tmp_path, {}).run("step", "A reason", ["name", "-c", "print('its output')"])
    out = capfd.readouterr().out
    assert "# A reason\n$ name -c 'print('\"'\"'its output'\"'\"')'\nits output\n" in out


def test_runs_in_its_folder_with_its_variables(python_as_command, tmp_path, capfd):
    program = "import os, json; print(json.dumps([os.getcwd(), os.environ['DEMO_A'], 'PATH' in os.environ]))"
    runner = Shell(tmp_path, {"DEMO_A": "some value"})
    runner.run("step", "A reason", ["name", "-c", program])
    assert json.loads(capfd.readouterr().out.splitlines()[-1]) == [str(tmp_path.resolve()), "some value", True]
    assert runner.seconds["step"] > 0


def test_shows_variables_so_that_a_terminal_takes_them(tmp_path, capsys):
    Shell(tmp_path, {"DEMO_A": "two words"}).show_setting()
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [f"cd {tmp_path}", "export DEMO_A='two words'"]


def test_failure_names_command_and_exit_code(python_as_command, tmp_path):
    with pytest.raises(CommandError, match=r"`name -c 'exit\(3\)'` stopped with exit code 3") as failure:
        Shell(tmp_path, {}).run("step", "A reason", ["name", "-c", "exit(3)"])
    assert failure.value.exit_code == 3


def test_killed_command_is_told_by_its_signal():
    error = CommandError(["name"], -9)
    assert "ended by signal 9" in str(error)
    assert error.exit_code == 137


def test_launcher_prefers_the_script_beside_this_python(monkeypatch, tmp_path):
    script = tmp_path / "nnUNetv2_train"
    script.write_text("")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert launcher("nnUNetv2_train") == [str(script)]


def test_launcher_works_without_scripts(monkeypatch, tmp_path):
    python = sys.executable
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    command = launcher("nnUNetv2_evaluate_folder")
    assert command[0] == str(tmp_path / "python")
    done = subprocess.run([python, *command[1:], "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "gt_folder" in done.stdout
