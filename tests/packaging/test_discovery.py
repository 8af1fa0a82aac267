"""NnU-Net's own look-up finds our trainers in a new process, from a wheel and from an editable installation."""

import importlib
import os
import sys
from pathlib import Path

import pytest

from nnunetv2_mamba import _autoload, plugin

LOOK_UP = """
import pickle, sys
from pathlib import Path
import nnunetv2_mamba
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name
assert Path(nnunetv2_mamba.__file__).parent == Path(sys.argv[1]), nnunetv2_mamba.__file__
for name in sys.argv[2:]:
    first, second = recursive_find_trainer_class_by_name(name), recursive_find_trainer_class_by_name(name)
    assert first is second, f"{name} is another class the second time"
    assert pickle.loads(pickle.dumps(first)) is first
print("found", *sys.argv[2:])
"""
SEARCH_PATH = "import torch, os; print(os.environ.get('nnUNet_extTrainer'))"


def test_stock_look_up_finds_the_same_picklable_class_twice(installation):
    names = plugin.trainer_names()
    result = installation.run("-c", LOOK_UP, str(installation.package), *names)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == " ".join(["found", *names])
    assert {"nnUNetTrainerS3Mamba", "nnUNetTrainerVMUNet"} <= set(names)


def test_users_own_folders_come_first_and_ours_once(installation):
    theirs = os.pathsep.join(["/theirs", "/more of theirs"])
    once = installation.run("-c", SEARCH_PATH, nnUNet_extTrainer=theirs).stdout.strip()
    assert once.split(os.pathsep)[:2] == ["/theirs", "/more of theirs"]
    assert [Path(folder).name for folder in once.split(os.pathsep)] == ["theirs", "more of theirs", "trainers"]
    assert installation.run("-c", SEARCH_PATH, nnUNet_extTrainer=once).stdout.strip() == once


def test_a_users_trainer_of_the_same_name_wins(installation, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer\n"
        "class nnUNetTrainerS3Mamba(nnUNetTrainer):\n    mine = True\n"
    )
    call = (
        "from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name as find\n"
        "assert find('nnUNetTrainerS3Mamba').mine"
    )
    result = installation.run("-c", call, nnUNet_extTrainer=str(tmp_path))
    assert result.returncode == 0, result.stderr


def test_opting_out_leaves_the_search_path_alone(installation):
    assert installation.run("-c", SEARCH_PATH, NNUNETV2_MAMBA_AUTOLOAD="0").stdout.strip() == "None"


def test_importing_torch_survives_without_the_trainers(wheel_installation):
    call = (
        "import sys\nsys.modules['nnunetv2_mamba.trainers'] = None\nimport torch, os\n"
        "assert 'nnUNet_extTrainer' not in os.environ and torch.ones(1).item() == 1"
    )
    result = wheel_installation.run("-c", call)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("error", [ImportError, PermissionError, SyntaxError, ValueError])
def test_the_autoload_hook_never_raises(monkeypatch, error):
    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name == "nnunetv2_mamba.trainers":
                raise error(name)

    monkeypatch.delenv("nnUNet_extTrainer", raising=False)
    monkeypatch.delenv("NNUNETV2_MAMBA_AUTOLOAD", raising=False)
    monkeypatch.delitem(sys.modules, "nnunetv2_mamba.trainers")
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(error):
        importlib.import_module("nnunetv2_mamba.trainers")
    _autoload.register()
    assert "nnUNet_extTrainer" not in os.environ


def test_the_autoload_hook_is_small_and_imports_only_os():
    lines = (Path(plugin.__file__).parent / "_autoload.py").read_text().splitlines()
    assert len([line for line in lines if line.strip()]) <= 15
    assert [line for line in lines if line.startswith(("import", "from"))] == ["import os"]


def test_expose_trainers_appends_once_whatever_the_opt_out_says(monkeypatch):
    monkeypatch.setenv("NNUNETV2_MAMBA_AUTOLOAD", "0")
    monkeypatch.setenv("nnUNet_extTrainer", "/theirs")
    plugin.expose_trainers()
    plugin.expose_trainers()
    assert plugin.external_folders() == [Path("/theirs"), plugin.trainers_folder()]


@pytest.mark.parametrize(
    ("trainer", "found"),
    [
        ("nnUNetTrainerS3Mamba", True),
        ("nnUNetTrainer_5epochs", True),
        ("nnUNetTrainerMine", True),
        ("nnUNetTrainerS3Mambo", False),
        ("nnUNetTrainerS3Mamb", False),
    ],
)
def test_names_are_known_without_importing_anything(monkeypatch, tmp_path, trainer, found):
    (tmp_path / "anything.py").write_text("class nnUNetTrainerMine: ...")
    monkeypatch.setenv("nnUNet_extTrainer", str(tmp_path))
    assert plugin.may_exist(trainer) is found


@pytest.mark.parametrize(
    "source",
    [
        "from elsewhere import *",
        "globals()['nnUNetTrainerOf' + 'Elsewhere'] = 1",
        "setattr(module, 'nnUNetTrainerOf' + place, 1)",
        "def __getattr__(name): ...",
    ],
)
def test_names_that_no_text_spells_out_are_left_to_nnunet(monkeypatch, tmp_path, source):
    (tmp_path / "anything.py").write_text(source)
    monkeypatch.setenv("nnUNet_extTrainer", str(tmp_path))
    assert plugin.may_exist("nnUNetTrainerOfElsewhere")
