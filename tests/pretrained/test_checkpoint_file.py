"""Files as they come from the internet."""

import hashlib
import os
import pickle

import pytest
import torch
from torch import nn

from nnunetv2_mamba.pretrained.checkpoint_file import read_checkpoint
from nnunetv2_mamba.pretrained.vmamba import WeightsError

STATE = {"patch_embed.proj.bias": torch.arange(3.0)}
OTHER = {"patch_embed.proj.bias": torch.zeros(3)}


@pytest.mark.parametrize(
    ("content", "entry"),
    [
        ({"model": STATE, "model_ema": OTHER, "epoch": 238}, "model"),
        ({"model_ema": STATE, "max_accuracy": 83.5}, "model_ema"),
        (STATE, None),
        ({"model": {f"module.{name}": tensor for name, tensor in STATE.items()}}, "model"),
    ],
)
def test_the_state_dict_is_found(tmp_path, content, entry):
    path = tmp_path / "file.pth"
    torch.save(content, path)
    checkpoint = read_checkpoint(path)
    assert checkpoint.entry == entry
    assert checkpoint.state.keys() == STATE.keys()
    assert torch.equal(checkpoint.state["patch_embed.proj.bias"], torch.arange(3.0))
    assert checkpoint.sha256() == hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_is_no_tensor_is_left_out(tmp_path):
    torch.save({**STATE, "epoch": 3}, tmp_path / "file.pth")
    assert read_checkpoint(tmp_path / "file.pth").state.keys() == STATE.keys()


class Attack:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_code_in_a_file_is_refused_and_not_run(tmp_path):
    torch.save({"model": STATE, "config": Attack(tmp_path / "made")}, tmp_path / "file.pth")
    with pytest.raises(WeightsError, match=r"holds other objects \(it asks for \w+\.mkdir\)"):
        read_checkpoint(tmp_path / "file.pth")
    assert not (tmp_path / "made").exists()
    # The same bytes do run where they are trusted.
    torch.load(tmp_path / "file.pth", weights_only=False)
    assert (tmp_path / "made").exists()


def damaged(kind, path):
    if kind == "missing":
        return
    if kind == "folder":
        path.mkdir()
    elif kind == "truncated":
        torch.save({"model": {"x": torch.zeros(1000)}}, path)
        path.write_bytes(path.read_bytes()[:-500])
    elif kind == "whole model":
        torch.save(nn.Linear(1, 1), path)
    elif kind == "list":
        torch.save([torch.zeros(1)], path)
    else:
        path.write_bytes({"empty": b"", "page": b"<!DOCTYPE html>", "pickle": pickle.dumps({"x": 1})}[kind])


@pytest.mark.parametrize("kind", ["missing", "folder", "truncated", "whole model", "list", "empty", "page", "pickle"])
def test_a_file_that_is_no_checkpoint_is_one_sentence(tmp_path, kind):
    path = tmp_path / "file.pth"
    damaged(kind, path)
    with pytest.raises(WeightsError, match=r"file\.pth (does not exist|cannot be read|holds)") as refused:
        read_checkpoint(path)
    assert "\n" not in str(refused.value)
    assert str(refused.value).endswith(".")
