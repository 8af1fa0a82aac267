"""Checkpoints that cannot be continued from are refused in one sentence, with nothing loaded and nothing written."""

from typing import ClassVar

import pytest
import torch

from nnunetv2_mamba.trainers.nnUNetTrainerVMUNet import nnUNetTrainerVMUNet
from nnunetv2_mamba.training.safety.checkpoint_file import CheckpointError


class SmallTrainer(nnUNetTrainerVMUNet):
    network_overrides: ClassVar = {"features_per_stage": (8, 16), "d_state": 2}


class AnotherTrainer(SmallTrainer):
    pass


class Wider(SmallTrainer):
    network_overrides: ClassVar = {"features_per_stage": (8, 24), "d_state": 2}


class Fine(SmallTrainer):
    network_parts: ClassVar = {"stem": "conv"}
    network_overrides: ClassVar = {"features_per_stage": (4, 8, 16), "d_state": 2}


class Sparing(SmallTrainer):
    decay_everything = False


class WithSGD(SmallTrainer):
    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.network.parameters(), 0.1)
        return optimizer, None


# The same trainer, edited since the checkpoint was written.
for edited in (Wider, Fine, Sparing, WithSGD):
    edited.__name__ = SmallTrainer.__name__


@pytest.fixture
def checkpoint(make_trainer, tmp_path):
    def write(trainer_class: type) -> str:
        trainer = make_trainer(trainer_class)
        trainer.initialize()
        trainer.current_epoch = 41
        trainer.save_checkpoint(str(tmp_path / "checkpoint_latest.pth"))
        return str(tmp_path / "checkpoint_latest.pth")

    return write


def refuse(make_trainer, path: str, match: str) -> None:
    trainer = make_trainer(SmallTrainer)
    trainer.initialize()
    weights = {key: tensor.clone() for key, tensor in trainer.network.state_dict().items()}
    with open(path, "rb") as file:
        content = file.read()
    with pytest.raises(CheckpointError, match=match) as error:
        trainer.load_checkpoint(path)
    assert path in str(error.value)
    assert "\n" not in str(error.value)
    assert trainer.current_epoch == 0
    assert all(torch.equal(tensor, weights[key]) for key, tensor in trainer.network.state_dict().items())
    with open(path, "rb") as file:
        assert file.read() == content


def test_a_good_one_is_loaded(make_trainer, checkpoint):
    path = checkpoint(SmallTrainer)
    saved = torch.load(path, weights_only=False)["network_weights"]
    trainer = make_trainer(SmallTrainer)
    trainer.load_checkpoint(path)
    assert trainer.current_epoch == 42
    assert all(torch.equal(tensor, saved[key]) for key, tensor in trainer.network.state_dict().items())


@pytest.mark.parametrize("keep", [0.0, 0.01, 0.5, 0.999], ids="{:.1%}".format)
def test_a_truncated_file(make_trainer, checkpoint, keep):
    path = checkpoint(SmallTrainer)
    with open(path, "r+b") as file:
        file.truncate(int(keep * file.seek(0, 2)))
    refuse(make_trainer, path, "cannot be read, it may be truncated")


def test_a_file_of_another_kind(make_trainer, tmp_path):
    (tmp_path / "notes.pth").write_text("not a checkpoint")
    refuse(make_trainer, str(tmp_path / "notes.pth"), "cannot be read")


def test_bare_weights(make_trainer, tmp_path):
    torch.save({"encoder.weight": torch.zeros(3)}, tmp_path / "weights.pth")
    refuse(make_trainer, str(tmp_path / "weights.pth"), "not an nnU-Net checkpoint, it lacks network_weights")


def test_a_single_tensor(make_trainer, tmp_path):
    torch.save(torch.zeros(3), tmp_path / "tensor.pth")
    refuse(make_trainer, str(tmp_path / "tensor.pth"), "not an nnU-Net checkpoint")


def test_another_stem_is_named(make_trainer, checkpoint):
    variants = r"\(stem='conv' in the file and stem='patch' here, \d+ tensors differ"
    refuse(make_trainer, checkpoint(Fine), f"is from another network {variants}")


def test_another_network(make_trainer, checkpoint):
    refuse(make_trainer, checkpoint(Wider), r"is from another network \(\d+ tensors differ, first ")


@pytest.mark.parametrize("trainer_class", [WithSGD, Sparing])
def test_another_optimizer(make_trainer, checkpoint, trainer_class):
    refuse(make_trainer, checkpoint(trainer_class), "is from another optimizer")


def test_another_trainer_though_network_and_optimizer_are_the_same(make_trainer, checkpoint):
    refuse(
        make_trainer,
        checkpoint(AnotherTrainer),
        "was written by AnotherTrainer and not by SmallTrainer: continue it with -tr AnotherTrainer, or",
    )


def test_a_missing_file_stays_a_missing_file(make_trainer, tmp_path):
    trainer = make_trainer(SmallTrainer)
    with pytest.raises(FileNotFoundError):
        trainer.load_checkpoint(str(tmp_path / "checkpoint_final.pth"))
