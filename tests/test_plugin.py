"""Files of trainers that nnU-Net would pass over are named before it searches."""

import pytest

from nnunetv2_mamba import cli, plugin
from nnunetv2_mamba.doctor.discovery import check_trainer_files

NAME = "nnUNetTrainerMine"


@pytest.fixture
def write(monkeypatch, tmp_path):
    monkeypatch.setenv("nnUNet_extTrainer", str(tmp_path))
    return (tmp_path / f"{NAME}.py").write_text


@pytest.mark.parametrize(
    "text",
    [
        f"class {NAME}:\n    pass",
        f"from somewhere import {NAME}",
        f"from somewhere import Other as {NAME}",
        f"{NAME} = make()",
        f"{NAME}: type = make()",
        "from somewhere import *",
        f"try:\n    from somewhere import {NAME}\nexcept ImportError:\n    pass",
    ],
)
def test_a_file_that_gives_its_trainer_is_not_listed(write, text):
    write(text)
    assert plugin.files_without_their_trainer() == []


@pytest.mark.parametrize(
    "text",
    ["", f'"""Select with -tr {NAME}."""', "class nnUNetTrainerOther:\n    pass", f"def f():\n    class {NAME}: pass"],
)
def test_a_file_that_lacks_its_trainer_is_named(write, text, tmp_path):
    write(text)
    file = tmp_path / f"{NAME}.py"
    assert plugin.files_without_their_trainer() == [file]
    with pytest.raises(SystemExit, match=f"^-tr {NAME}: {file} has no class {NAME}: define or import it there"):
        cli.main(["train", "1", "2d", "0", "-tr", NAME])
    (finding,) = check_trainer_files()
    assert finding.text == f"{file} has no class {NAME}"


def test_our_own_files_give_their_trainers(monkeypatch):
    monkeypatch.delenv("nnUNet_extTrainer", raising=False)
    assert plugin.files_without_their_trainer() == []


def test_a_syntax_error_is_called_one(write, tmp_path):
    write("import os\nclass (:")
    with pytest.raises(SystemExit, match=rf"{NAME}\.py is not valid Python in line 2: correct it"):
        cli.main(["train", "1", "2d", "0", "-tr", NAME])


def test_a_trainer_that_another_file_defines_is_left_to_nnunet(write, tmp_path, monkeypatch):
    write("")
    (tmp_path / "others.py").write_text(f"class {NAME}:\n    pass")
    assert plugin.files_without_their_trainer() == []
    (tmp_path / "nnUNetTrainerNoMirroring.py").touch()
    assert plugin.files_without_their_trainer() == [], "nnU-Net has a trainer of that name itself"
