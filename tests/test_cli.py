"""The command line: what is handed over to nnU-Net, and what is refused in one sentence."""

import os
import subprocess
import sys
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

import pytest

from nnunetv2_mamba import cli, doctor, plugin
from nnunetv2_mamba.commands.options import option
from nnunetv2_mamba.commands.train import Train
from nnunetv2_mamba.commands.trainers import Trainers


@pytest.fixture(autouse=True)
def _environment(monkeypatch, tmp_path):
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        (tmp_path / variable).mkdir()
        monkeypatch.setenv(variable, str(tmp_path / variable))
    (tmp_path / "nnUNet_raw" / "Dataset007_Toy").mkdir()
    monkeypatch.delenv("nnUNet_extTrainer", raising=False)
    monkeypatch.setattr(sys, "argv", ["nnUNetv2_mamba"])


@dataclass
class Example:
    """One line about it.

    Everything else is not for --help.
    """

    number: int = field(metadata=option("a number", "-n"))
    out: Path = field(default=Path("here"), metadata={"help": "a folder"})
    names: list[str] | None = field(default=None, metadata=option("some names", nargs="+"))
    loud_one: bool = field(default=False, metadata=option("a switch"))


def test_fields_become_options():
    assert cli.parse(Example, "example", ["-n", "3"]) == Example(3, Path("here"), None, False)
    words = ["-n", "3", "--out", "there", "--names", "a", "b", "--loud-one"]
    assert cli.parse(Example, "example", words) == Example(3, Path("there"), ["a", "b"], True)


def test_a_word_without_a_dash_is_a_positional_argument(capsys):
    @dataclass
    class Copy:
        source: Path = field(metadata=option("a file", "FILE"))
        out: str = field(default="there", metadata=option("another", "-o"))

    assert cli.parse(Copy, "copy", ["-o", "here", "a.pth"]) == Copy(Path("a.pth"), "here")
    assert cli.parse(Copy, "copy", ["a.pth"]) == Copy(Path("a.pth"), "there")
    with pytest.raises(SystemExit):
        cli.parse(Copy, "copy", [])
    assert "the following arguments are required: FILE" in capsys.readouterr().err


def test_fields_become_help(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.parse(Example, "example", ["--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0
    assert "a folder (default: here)" in text
    assert "One line about it." in text
    assert "Everything else" not in text


@pytest.mark.parametrize("words", [[], ["-n", "three"], ["-n", "3", "--unknown"]])
def test_wrong_options_are_refused(words):
    with pytest.raises(SystemExit) as stop:
        cli.parse(Example, "example", words)
    assert stop.value.code == 2


def test_an_unknown_command_gets_the_list():
    with pytest.raises(SystemExit, match=f"trian: unknown command, use one of train, .*{list(cli.COMMANDS)[-1]}$"):
        cli.main(["trian"])


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"]])
def test_help_lists_every_command(capsys, arguments):
    assert cli.main(arguments) == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in cli.COMMANDS)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_a_dataclass_that_runs(name):
    module, _, attribute = cli.COMMANDS[name][0].partition(":")
    command = getattr(import_module(f"nnunetv2_mamba.commands.{module}"), attribute)
    assert callable(command.run)
    assert command.__dataclass_fields__.keys() or name == "doctor"


def test_trainers_are_listed_as_nnunet_wants_them(capsys):
    assert cli.main(["trainers"]) == 0
    assert capsys.readouterr().out.split() == plugin.trainer_names()
    assert cli.main(["trainers", "--folder"]) == 0
    assert Path(capsys.readouterr().out.strip(), "nnUNetTrainerS3Mamba.py").is_file()


TRAIN_ENTRY = "nnunetv2.run.run_training.run_training_entry"
PREDICT_ENTRY = "nnunetv2.inference.predict_from_raw_data.predict_entry_point"


@pytest.mark.parametrize(
    ("command", "entry", "arguments"),
    [
        (
            "train",
            "nnunetv2.run.run_training.run_training_entry",
            ["7", "2d", "0", "-tr", "nnUNetTrainerS3Mamba", "--c"],
        ),
        ("train", TRAIN_ENTRY, ["-h"]),
        (
            "predict",
            "nnunetv2.inference.predict_from_raw_data.predict_entry_point",
            ["-d", "7", "-i", "a", "-o", "b c"],
        ),
    ],
)
def test_nnunet_gets_the_arguments_untouched(monkeypatch, command, entry, arguments):
    seen = []
    monkeypatch.setattr(entry, lambda: seen.append((sys.argv[1:], os.environ["nnUNet_extTrainer"])))
    monkeypatch.setenv("NNUNETV2_MAMBA_AUTOLOAD", "0")
    assert cli.main([command, *arguments]) == 0
    assert seen == [(arguments, str(plugin.trainers_folder()))]


@pytest.mark.parametrize("words", [["-tr", "nnUNetTrainerS3Mambo"], ["-tr=nnUNetTrainerS3Mambo"]])
def test_an_unknown_trainer_gets_the_list_before_nnunet_starts(monkeypatch, words):
    monkeypatch.setattr(Train, "entry", lambda self: pytest.fail("nnU-Net was started"))
    with pytest.raises(SystemExit, match=r"-tr nnUNetTrainerS3Mambo: .* this package has .*nnUNetTrainerS3Mamba"):
        cli.main(["train", "7", "2d", "0", *words])


@pytest.mark.parametrize("words", [["train", "8", "2d", "0"], ["predict", "-i", "a", "-o", "b", "-d", "8", "-c", "2d"]])
def test_a_missing_dataset_gets_nnunets_own_message(words):
    with pytest.raises(SystemExit, match="Could not find a dataset with the ID 8"):
        cli.main(words)


def test_a_torchvision_that_would_end_the_look_up_is_refused_with_the_remedy(monkeypatch):
    broken = doctor.Finding(doctor.Status.FAIL, "torchvision does not import", "pip install something")
    monkeypatch.setattr(doctor, "check_torchvision", lambda: broken)
    with pytest.raises(SystemExit, match=r"-tr nnUNetTrainerVMUNet: .*torchvision does not import; pip install"):
        cli.main(["train", "7", "2d", "0", "-tr", "nnUNetTrainerVMUNet"])


def test_plan_hands_its_options_over(monkeypatch, capsys):
    seen = []

    def derive(*arguments, **options):
        seen.append((*arguments, {name: value for name, value in options.items() if value is not None}))
        return Path("folder/nnUNetPlans_VMUNet.json")

    monkeypatch.setattr("nnunetv2_mamba.plans.derive.derive_plans_file", derive)
    assert cli.main(["plan", "-d", "7", "--network", "VMUNet", "-c", "2d"]) == 0
    assert cli.main(["plan", "-d", "7", "--name", "Lean", "--checkpointed-stages", "0", "1", "--batch-size", "6"]) == 0
    assert cli.main(["plan", "-d", "7", "--stem", "conv"]) == 0
    assert seen == [
        ("7", "nnUNetPlans", "VMUNet", {"configurations": ["2d"]}),
        ("7", "nnUNetPlans", "S3Mamba", {"plans_name": "Lean", "checkpointed_stages": [0, 1], "batch_size": 6}),
        ("7", "nnUNetPlans", "S3Mamba", {"stem": "conv"}),
    ]
    assert "nnUNetv2_train 7 CONFIGURATION FOLD -p nnUNetPlans_VMUNet" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("dataset", "sentence"), [("7", "nnUNetPlans.json does not exist"), ("8", "Could not find a dataset with the ID 8")]
)
def test_plan_refuses_what_is_not_there(dataset, sentence):
    with pytest.raises(SystemExit, match=sentence):
        cli.main(["plan", "-d", dataset])


def in_new_process(*arguments: str, **variables: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "nnunetv2_mamba", *arguments],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_module_is_the_command_too():
    result = in_new_process("trainers")
    assert (result.returncode, result.stdout.split()) == (0, plugin.trainer_names()), result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["train", "8", "2d", "0", "-tr", "nnUNetTrainerS3Mamba"], "Could not find a dataset with the ID 8"),
        (["predict", "-i", "a", "-o", "b", "-d", "8", "-c", "2d"], "Could not find a dataset with the ID 8"),
        (["train", "7", "2d", "0", "-tr", "nnUNetTrainerS3Mambo"], "this package has nnUNetTrainerCurriculum, "),
    ],
)
def test_a_mistake_is_one_message_in_a_new_process_too(words, sentence):
    result = in_new_process(*words, NNUNETV2_MAMBA_AUTOLOAD="0")
    assert result.returncode == 1
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_nnunets_own_help_in_a_new_process():
    result = in_new_process("train", "--help", NNUNETV2_MAMBA_AUTOLOAD="0")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("usage: nnUNetv2_mamba train ")
    assert "--val_best" in result.stdout


@pytest.mark.nnunet
@pytest.mark.slow
def test_nnunet_finds_our_trainer_and_misses_only_the_preprocessed_data():
    result = in_new_process(
        *("train", "7", "2d", "0", "-tr", "nnUNetTrainerS3Mamba", "-device", "cpu"), NNUNETV2_MAMBA_AUTOLOAD="0"
    )
    assert result.returncode == 1
    assert "Using trainer 'nnUNetTrainerS3Mamba' from:" in result.stdout
    assert "nnUNetPlans.json" in result.stderr.splitlines()[-1]


def test_an_interrupted_command_says_so_in_one_line(monkeypatch, capsys):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainers, "run", interrupted)
    assert cli.main(["trainers"]) == 130
    assert capsys.readouterr().err.strip() == "nnUNetv2_mamba trainers: interrupted"


def test_a_reader_that_has_had_enough_is_no_error():
    line = f"{sys.executable} -c 'from nnunetv2_mamba.cli import main; import sys; sys.exit(main([\"trainers\"]))'"
    result = subprocess.run(["bash", "-o", "pipefail", "-c", f"{line} | true"], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
