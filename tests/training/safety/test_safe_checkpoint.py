"""Checkpoints are replaced as a whole, hold what a subclass adds, and are written when the time has come."""

import math
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import nn

from nnunetv2_mamba import files
from nnunetv2_mamba.training.records.epoch_log import log_epoch_value
from nnunetv2_mamba.training.robust_trainer import RobustTrainer
from nnunetv2_mamba.training.safety import safe_checkpoint
from nnunetv2_mamba.training.safety.safe_checkpoint import EXTRAS_KEY, SafeCheckpointMixin


class TinyNetwork(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.decoder = nn.Conv2d(1, 2, 1)


class TinyTrainer(nnUNetTrainer):
    @staticmethod
    def build_network_architecture(
        plans_manager, configuration_manager, num_input_channels, num_output_channels, enable_deep_supervision=True
    ):
        return TinyNetwork()


class SafeTrainer(SafeCheckpointMixin, TinyTrainer):
    pass


class Counter(SafeCheckpointMixin):
    """Another mixin, which adds to the checkpoint."""

    counts = torch.zeros(3)

    def checkpoint_extras(self) -> dict[str, Any]:
        return {**super().checkpoint_extras(), "counter": {"counts": self.counts, "name": "counter"}}

    def load_checkpoint_extras(self, checkpoint: Mapping[str, Any]) -> None:
        super().load_checkpoint_extras(checkpoint)
        if "counter" in checkpoint:
            self.counts = checkpoint["counter"]["counts"]


class CountingTrainer(Counter, SafeTrainer):
    pass


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "checkpoint_latest.pth"


@pytest.fixture
def make(make_trainer):
    def initialized(trainer_class: type = CountingTrainer) -> nnUNetTrainer:
        trainer = make_trainer(trainer_class)
        trainer.initialize()
        return trainer

    return initialized


def load(path: Path) -> dict:
    return torch.load(path, weights_only=False)


@pytest.mark.parametrize(
    ("first", "second"), [(Counter, RobustTrainer), (Counter, SafeTrainer), (Counter, TinyTrainer)]
)
def test_mixins_go_in_front_of_any_trainer(first, second):
    order = type("Combined", (first, second), {}).__mro__
    assert order.index(first) < order.index(SafeCheckpointMixin) < order.index(nnUNetTrainer)
    if second is not TinyTrainer:
        assert order.index(second) < order.index(SafeCheckpointMixin)


def test_without_extras_the_file_is_what_nnunet_writes(make, path, tmp_path):
    trainer = make(SafeTrainer)
    trainer.save_checkpoint(str(path))
    nnUNetTrainer.save_checkpoint(trainer, str(tmp_path / "stock.pth"))
    ours, stock = load(path), load(tmp_path / "stock.pth")
    assert ours.keys() == stock.keys()
    assert {file.name for file in tmp_path.iterdir()} == {path.name, "stock.pth"}


def test_extras_come_back_and_share_no_memory_with_the_file(make, path):
    trainer = make()
    trainer.counts = torch.tensor([1.0, 2.0, 3.0])
    trainer.current_epoch = 7
    trainer.save_checkpoint(str(path))
    assert load(path)["optimizer_state"][EXTRAS_KEY]["counter"]["name"] == "counter"

    resumed = make()
    resumed.load_checkpoint(str(path))
    path.write_bytes(b"\0" * path.stat().st_size)
    assert resumed.counts.tolist() == [1.0, 2.0, 3.0]
    assert resumed.current_epoch == 8
    for key, tensor in trainer.network.state_dict().items():
        assert torch.equal(tensor, resumed.network.state_dict()[key])


def test_a_checkpoint_from_before_the_extras_is_loaded_too(make, path):
    trainer = make()
    nnUNetTrainer.save_checkpoint(trainer, str(path))
    resumed = make()
    resumed.load_checkpoint(str(path))
    assert resumed.counts is Counter.counts


def test_extras_of_earlier_versions_are_loaded(make, path):
    """They lay among nnU-Net's own entries."""
    trainer = make(SafeTrainer)
    trainer.save_checkpoint(str(path))
    extras = {"counter": {"counts": torch.ones(3), "name": "counter"}}
    torch.save(load(path) | extras | {"trainer_name": "CountingTrainer"}, path)
    resumed = make()
    resumed.load_checkpoint(str(path))
    assert resumed.counts.tolist() == [1.0, 1.0, 1.0]


def test_nnunet_itself_goes_on_from_a_checkpoint_with_extras(make, path):
    trainer = make()
    trainer.save_checkpoint(str(path))
    stock = make(TinyTrainer)
    stock.load_checkpoint(str(path))
    assert stock.optimizer.state_dict().keys() == {"state", "param_groups"}
    assert trainer.optimizer.state_dict().keys() == {"state", "param_groups"}


def test_a_checkpoint_is_written_once(make, path, monkeypatch):
    written, save = [], torch.save
    monkeypatch.setattr(torch, "save", lambda content, file: (written.append(file), save(content, file)))
    make().save_checkpoint(str(path))
    assert len(written) == 1


def test_a_full_disk_leaves_the_old_checkpoint_and_nothing_else(make, path, monkeypatch):
    trainer = make()
    trainer.save_checkpoint(str(path))
    before = path.read_bytes()

    def fail_half_way(checkpoint: dict, file: Any) -> None:
        Path(file).write_bytes(before[: len(before) // 2])
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", fail_half_way)
    with pytest.raises(OSError, match="No space left"):
        trainer.save_checkpoint(str(path))
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == before


def test_what_a_killed_process_left_aside_is_removed_by_the_next_checkpoint(make, path):
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        dead.wait()
    path.with_name(f".{path.name}.{files._HOST}-{dead.pid}.partial").write_bytes(b"half")
    make().save_checkpoint(str(path.with_name("checkpoint_best.pth")))
    assert [file.name for file in path.parent.iterdir()] == ["checkpoint_best.pth"]


def test_a_file_that_another_process_is_writing_stays(make, path):
    other = path.with_name(f".{path.name}.{files._HOST}-{os.getppid()}.partial")
    other.write_bytes(b"half")
    make().save_checkpoint(str(path))
    assert {file.name for file in path.parent.iterdir()} == {path.name, other.name}


def test_the_final_checkpoint_takes_the_latest_with_it(make, path):
    """nnU-Net looks for the latest before it removes it, and fails where another training was faster."""
    trainer = make()
    trainer.save_checkpoint(str(path))
    trainer.save_checkpoint(str(path.with_name("checkpoint_final.pth")))
    assert [file.name for file in path.parent.iterdir()] == ["checkpoint_final.pth"]


@pytest.mark.parametrize("attribute", ["disable_checkpointing", "local_rank"])
def test_nothing_is_written_where_nnunet_writes_nothing(make, path, attribute):
    trainer = make()
    setattr(trainer, attribute, 1)
    trainer.save_checkpoint(str(path))
    assert list(path.parent.iterdir()) == []


class Epochs:
    """Ends epochs of a trainer one after the other, and tells which checkpoints they left."""

    def __init__(self, trainer: nnUNetTrainer, monkeypatch: pytest.MonkeyPatch) -> None:
        self.trainer = trainer
        self.minutes = 0.0
        trainer.logger.plot_progress_png = lambda folder: None
        trainer.num_epochs = 100
        monkeypatch.setattr(safe_checkpoint, "monotonic", lambda: 60 * self.minutes)
        self.folder = Path(trainer.output_folder)
        self.clear()

    def clear(self) -> None:
        for file in self.folder.glob("*.pth"):
            file.unlink()

    def end(self, minutes: float = 0.0, dice: float = 0.5) -> set[str]:
        self.minutes += minutes
        trainer = self.trainer
        for key in ("train_losses", "val_losses", "epoch_start_timestamps"):
            trainer.logger.log(key, 0.0, trainer.current_epoch)
        trainer.logger.log("dice_per_class_or_region", [dice], trainer.current_epoch)
        trainer.logger.log("mean_fg_dice", dice, trainer.current_epoch)
        self.clear()
        trainer.on_epoch_end()
        return {file.stem.removeprefix("checkpoint_") for file in self.folder.glob("*.pth")}


@pytest.fixture
def epochs(make, monkeypatch) -> Epochs:
    epochs = Epochs(make(), monkeypatch)
    # As at the start of a training.
    epochs.trainer._latest_written = 0.0
    return epochs


def test_the_latest_checkpoint_is_written_when_it_is_old_or_nnunet_wants_it(epochs):
    epochs.trainer.save_every = 4
    assert epochs.end(minutes=14) == {"best"}
    assert epochs.end(minutes=2) == {"latest"}
    assert load(epochs.folder / "checkpoint_latest.pth")["current_epoch"] == epochs.trainer.current_epoch == 2
    assert epochs.end(minutes=14) == set()
    assert epochs.end() == {"latest"}
    assert epochs.end(minutes=14.9) == set()
    assert epochs.end(minutes=0.1) == {"latest"}
    assert epochs.trainer.save_every == 4


def test_the_last_epoch_leaves_it_to_the_final_checkpoint(epochs):
    epochs.end()
    epochs.trainer.num_epochs = 2
    assert epochs.end(minutes=1000) == set()


def test_the_latest_checkpoint_knows_of_the_best_one_of_its_own_epoch(epochs):
    """Otherwise a training continued from it overwrites the best checkpoint by a worse one."""
    epochs.end(dice=0.1)
    assert epochs.end(minutes=20, dice=0.9) == {"best", "latest"}
    best, latest = (load(epochs.folder / f"checkpoint_{name}.pth") for name in ("best", "latest"))
    assert best["_best_ema"] == latest["_best_ema"] == epochs.trainer._best_ema
    assert best["current_epoch"] == latest["current_epoch"] == 2


def test_the_latest_checkpoint_is_written_once_and_last(epochs, monkeypatch):
    written = []
    monkeypatch.setattr(epochs.trainer, "save_checkpoint", lambda filename: written.append(Path(filename).stem))
    epochs.trainer.save_every = 1
    epochs.end()
    assert written == ["checkpoint_best", "checkpoint_latest"]


def test_a_curve_that_a_checkpoint_lacks_is_filled_up(make):
    trainer = make(SafeTrainer)
    trainer.current_epoch = 2
    log_epoch_value(trainer, "new_curve", 5)
    trainer.current_epoch = 3
    log_epoch_value(trainer, "new_curve", 6)
    curve = trainer.logger.get_value("new_curve", step=None)
    assert math.isnan(curve[0])
    assert math.isnan(curve[1])
    assert curve[2:] == [5, 6]
