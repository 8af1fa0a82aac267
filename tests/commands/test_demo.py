"""The demo's own logic, with nnU-Net's commands replaced by one that notes its calls."""

import json
import shlex
import sys
from importlib import import_module
from pathlib import Path

import pytest

from nnunetv2_mamba import plugin
from nnunetv2_mamba.commands.demo import EPOCHS, Demo
from nnunetv2_mamba.demo import shell
from nnunetv2_mamba.demo.dataset import DATASET_NAME
from nnunetv2_mamba.training.robust_trainer import RobustTrainer

TRAINER = "nnUNetTrainerVMUNet"
STEPS = [
    "nnUNetv2_plan_and_preprocess",
    "nnUNetv2_train",
    "nnUNetv2_predict",
    "nnUNetv2_evaluate_folder",
    "nnUNetv2_mamba evaluate",
    "nnUNetv2_mamba report",
]


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """Returns what was called since it was last asked, arguments included."""
    file = tmp_path / "calls"
    fake = Path(__file__).with_name("fake_nnunet.py")
    monkeypatch.setenv("DEMO_CALLS", str(file))
    for name in ("EPOCHS", "ITERATIONS", "VAL_ITERATIONS"):
        monkeypatch.delenv(f"NNUNETV2_MAMBA_{name}", raising=False)
    monkeypatch.setattr(shell, "launcher", lambda name: [sys.executable, str(fake), name])

    def calls() -> list[list[str]]:
        lines = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return [json.loads(line) for line in lines]

    return calls


@pytest.fixture
def demo(tmp_path):
    return Demo(out=tmp_path / "out", trainer=TRAINER)


def steps(calls: list[list[str]]) -> list[str]:
    return [next(step for step in STEPS if " ".join(call).startswith(step)) for call in calls]


def fold(demo):
    return demo.out / "nnUNet_results" / DATASET_NAME / f"{TRAINER}__nnUNetPlans__2d" / "fold_0"


def test_runs_all_steps_and_writes_page_and_picture(demo, calls, capfd):
    assert demo.run() == 0
    assert steps(calls()) == STEPS
    assert (demo.out / "report.html").exists()
    assert (demo.out / "demo.png").stat().st_size > 100_000
    assert (demo.out / "nnUNet_preprocessed" / DATASET_NAME / "splits_final.json").exists()
    out = capfd.readouterr().out
    assert "hard exudate                    1.00           0.90          72 of 96                  0.50" in out
    assert f"report    {demo.out / 'report.html'}" in out
    assert "total" in out


def test_prints_exactly_what_it_runs(demo, calls, capfd):
    demo.run()
    printed = [shlex.split(line[2:]) for line in capfd.readouterr().out.splitlines() if line.startswith("$ ")]
    assert printed == calls()


def test_prints_every_variable_that_it_sets(demo, calls, capfd):
    demo.run()
    exported = {line.split()[1] for line in capfd.readouterr().out.splitlines() if line.startswith("export ")}
    assert {f"nnUNet_raw={demo.out / 'nnUNet_raw'}", f"NNUNETV2_MAMBA_EPOCHS={EPOCHS}"} <= exported
    assert {entry.split("=")[0] for entry in exported} >= set(demo._variables())


def test_epochs_asked_for_win_over_the_environment_and_that_over_the_default(tmp_path, monkeypatch):
    monkeypatch.setenv("NNUNETV2_MAMBA_EPOCHS", "5")
    assert Demo(tmp_path)._variables()["NNUNETV2_MAMBA_EPOCHS"] == "5"
    assert Demo(tmp_path, epochs=3)._variables()["NNUNETV2_MAMBA_EPOCHS"] == "3"


@pytest.mark.parametrize("step", STEPS)
def test_failing_command_stops_the_demo_and_is_named(demo, calls, monkeypatch, capfd, step):
    monkeypatch.setenv("DEMO_FAIL", step)
    assert demo.run() == 7
    assert steps(calls()) == STEPS[: STEPS.index(step) + 1]
    message = capfd.readouterr().err.strip()
    assert message.count("\n") == 0
    assert message.startswith(f"demo: `{step} ")
    assert "exit code 7" in message


def test_second_run_keeps_what_is_finished(demo, calls, capfd):
    demo.run()
    calls()
    capfd.readouterr()
    assert demo.run() == 0
    assert steps(calls()) == STEPS[2:]
    assert capfd.readouterr().out.count("done earlier") == 2


@pytest.mark.parametrize(("checkpoint", "flag"), [("checkpoint_latest.pth", "--c"), ("checkpoint_final.pth", "--val")])
def test_interrupted_training_goes_on(demo, calls, checkpoint, flag):
    fold(demo).mkdir(parents=True)
    (fold(demo) / checkpoint).touch()
    (demo.out / "demo.json").write_text("{}")
    assert demo.run() == 0
    assert flag in calls()[1]


def test_finished_training_of_other_length_is_kept(demo, calls, capfd):
    demo.run()
    calls()
    demo.epochs = EPOCHS + 1
    assert demo.run() == 2
    assert calls() == []
    assert f"NNUNETV2_MAMBA_EPOCHS={EPOCHS + 1}" in capfd.readouterr().err


def test_folder_of_something_else_is_refused_untouched(demo, calls, capfd):
    demo.out.mkdir()
    (demo.out / "thesis.txt").write_text("mine")
    assert demo.run() == 2
    assert calls() == []
    assert [file.name for file in demo.out.iterdir()] == ["thesis.txt"]
    message = capfd.readouterr().err
    assert str(demo.out) in message
    assert "--out" in message


def test_file_in_place_of_the_folder_is_refused(demo, calls, capfd):
    demo.out.write_text("mine")
    assert demo.run() == 2
    assert demo.out.read_text() == "mine"


@pytest.mark.parametrize("trainer", ["nnUNetTrainerNobodyWrote", "nnUNetTrainer", "nnUNetTrainer_5epochs"])
def test_a_trainer_that_would_not_train_briefly_is_refused_before_anything_is_written(demo, calls, capfd, trainer):
    demo.trainer, demo.epochs = trainer, 3
    assert demo.run() == 2
    assert calls() == []
    assert not demo.out.exists()
    message = capfd.readouterr().err
    assert trainer in message
    assert ", ".join(plugin.trainer_names()) in message


@pytest.mark.parametrize("trainer", plugin.trainer_names())
def test_every_trainer_of_ours_reads_the_variables_that_shorten_the_training(trainer):
    assert issubclass(getattr(import_module(f"nnunetv2_mamba.trainers.{trainer}"), trainer), RobustTrainer)


def test_no_epochs_are_refused(demo, calls, capfd):
    demo.epochs = 0
    assert demo.run() == 2
    assert "0 epochs" in capfd.readouterr().err


def test_interrupt_is_one_sentence(demo, calls, monkeypatch, capfd):
    def interrupt(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(shell, "launcher", interrupt)
    assert demo.run() == 130
    assert "goes on" in capfd.readouterr().err
