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
        "from somewhere import *",
        f"try:\n    from somewhere import {NAME}\nexcept ImportError:\n    pass",
    ],
)
def test_a_file_that_gives_its_trainer_is_not_listed(write, text):
    write(text)
    assert plugin.files_without_their_trainer() == []


@pytest.mark.parametrize(
    "text", ["", f'"""Select with -tr {NAME}."""', "class nnUNetTrainerOther:\n    pass", "class (:"]
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
