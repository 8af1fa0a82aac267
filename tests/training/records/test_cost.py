"""What cost.json says of a training, whoever trained, and that it never costs the training itself."""

import dataclasses
import json
from math import isnan
from pathlib import Path

import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunetv2_mamba.report.cost import cost_of
from nnunetv2_mamba.training.records import cost
from nnunetv2_mamba.training.records.cost import COST_FILE, PEAK_MEMORY, Cost, CostMixin, _count_parameters
from nnunetv2_mamba.training.robust_trainer import RobustTrainer

# The first epoch compiles; the third was disturbed; the fifth was interrupted.
STARTS, ENDS = [0.0, 60.0, 70.0, 90.0, 99.0], [60.0, 70.0, 90.0, 99.0]

NETWORK = {
    "n_stages": 3,
    "features_per_stage": [4, 8, 8],
    "strides": [[1, 1], [2, 2], [2, 2]],
    "kernel_sizes": [[3, 3]] * 3,
    "n_conv_per_stage": [1, 1, 1],
    "n_conv_per_stage_decoder": [1, 1],
    "norm_op": "torch.nn.modules.batchnorm.BatchNorm2d",
    "norm_op_kwargs": {},
    "nonlin": "torch.nn.LeakyReLU",
}


def log_epochs(trainer: nnUNetTrainer, starts=STARTS, ends=ENDS, **curves) -> None:
    logged = trainer.logger.local_logger.my_fantastic_logging
    logged.update(epoch_start_timestamps=starts, epoch_end_timestamps=ends, **curves)


@pytest.fixture
def make(make_trainer):
    """Trainers with a small U-Net of nnU-Net's."""

    def initialized(trainer_class: type[nnUNetTrainer] = RobustTrainer) -> nnUNetTrainer:
        trainer = make_trainer(trainer_class)
        architecture = trainer.configuration_manager.configuration["architecture"]
        architecture["arch_kwargs"].update(NETWORK)
        architecture["_kw_requires_import"] = ["conv_op", "norm_op", "nonlin"]
        trainer.initialize()
        return trainer

    return initialized


@pytest.fixture
def trained(make):
    """Trainers that have trained four epochs and written their last checkpoint."""

    def train(trainer_class: type[nnUNetTrainer] = RobustTrainer) -> nnUNetTrainer:
        trainer = make(trainer_class)
        log_epochs(trainer)
        trainer.current_epoch = 4
        folder = Path(trainer.output_folder)
        for file in folder.glob("*.json"):
            file.unlink()
        trainer._save_debug_information()
        trainer.on_train_end()
        return trainer

    return train


def test_a_training_ends_with_its_cost(trained):
    trainer = trained()
    assert json.loads(Path(trainer.output_folder, COST_FILE).read_text()) == {
        "trainer": "RobustTrainer",
        "network": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "parameters": sum(parameter.numel() for parameter in trainer.network.parameters()),
        "epochs": 4,
        "iterations_per_epoch": 250,
        "batch_size": 2,
        "patch_size": [16, 16],
        "epoch_seconds": 10.0,
        "peak_memory_bytes": None,
        "processes": 1,
        "device": "cpu",
        "torch": torch.__version__,
    }


@pytest.mark.parametrize(
    ("starts", "ends", "seconds"),
    [([], [], None), ([5.0], [8.0], 3.0), ([5.0, 8.0], [8.0, 9.0], 1.0), ([5.0], [], None)],
    ids=["none", "one", "two", "interrupted"],
)
def test_few_epochs(make, starts, ends, seconds):
    trainer = make()
    log_epochs(trainer, starts, ends)
    account = Cost.of_trainer(trainer)
    assert (account.epochs, account.epoch_seconds) == (len(ends), seconds)


class Stepping(nnUNetTrainer):
    """Stands in for nnU-Net where only the end and the beginning of an epoch's training matter."""

    def on_train_epoch_start(self) -> None:
        pass

    def on_train_epoch_end(self, train_outputs: list[dict]) -> None:
        pass


class Remembering(CostMixin, Stepping):
    pass


def test_the_peak_is_that_of_each_epoch_and_the_cost_is_the_greatest(make, monkeypatch):
    memory = {"peak": 0}
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: memory.update(peak=0))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: memory["peak"])
    trainer = make(Remembering)
    trainer.device = torch.device("cuda", 0)
    # As after a checkpoint of a time when nothing was logged.
    trainer.current_epoch = 2
    for peak in (500, 900, 700):
        trainer.on_train_epoch_start()
        memory["peak"] = max(memory["peak"], peak)
        trainer.on_train_epoch_end([])
        trainer.current_epoch += 1
    curve = trainer.logger.get_value(PEAK_MEMORY, None)
    assert [isnan(value) for value in curve] == [True, True, False, False, False]
    assert curve[2:] == [500, 900, 700]
    trainer.device = torch.device("cpu")
    assert Cost.of_trainer(trainer).peak_memory_bytes == 900


def test_without_a_gpu_every_epoch_has_its_value_all_the_same(make_trainer):
    """The figure of nnU-Net's ends where the shortest curve does."""
    trainer = make_trainer(Remembering)
    trainer.on_train_epoch_start()
    trainer.on_train_epoch_end([])
    assert len(trainer.logger.get_value(PEAK_MEMORY, None)) == 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_peak_on_a_gpu(make_trainer):
    trainer = make_trainer(Remembering, device=torch.device("cuda"))
    sizes = []
    for size in (2**26, 2**20):
        trainer.on_train_epoch_start()
        before = torch.cuda.memory_allocated()
        torch.zeros(size, dtype=torch.uint8, device="cuda")
        trainer.on_train_epoch_end([])
        sizes.append(trainer.logger.get_value(PEAK_MEMORY, -1) - before)
        trainer.current_epoch += 1
    assert sizes == [2**26, 2**20]


def test_only_the_first_rank_writes(make):
    trainer = make()
    Path(trainer.output_folder, COST_FILE).unlink(missing_ok=True)
    trainer.local_rank = 1
    trainer.on_train_end()
    assert not Path(trainer.output_folder, COST_FILE).exists()


def test_a_failure_is_reported_and_the_training_ends_well(trained, monkeypatch):
    def fail(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cost, "written_aside", fail)
    trainer = trained()
    folder = Path(trainer.output_folder)
    assert (folder / "checkpoint_final.pth").exists()
    assert not (folder / COST_FILE).exists()
    log = Path(trainer.log_file).read_text()
    assert "Traceback" in log
    assert "No space left on device\n\ncost.json was not written for the reason above" in log


class Validating(CostMixin, nnUNetTrainer):
    pass


def test_validation_alone_adds_what_an_older_training_lacks(trained, monkeypatch):
    monkeypatch.setattr(nnUNetTrainer, "perform_actual_validation", lambda self, save_probabilities: None)
    trainer = trained(Validating)
    file = Path(trainer.output_folder, COST_FILE)
    written = json.loads(file.read_text())
    file.unlink()
    # With --val_best the logger ends with the best epoch.
    log_epochs(trainer, STARTS[:2], ENDS[:2])
    trainer.perform_actual_validation()
    assert json.loads(file.read_text()) == written | {"processes": None}
    file.write_text("{}")
    trainer.perform_actual_validation()
    assert file.read_text() == "{}"


def test_of_stock_trainers_the_checkpoint_tells(trained):
    trainer = trained(nnUNetTrainer)
    found = cost_of(Path(trainer.output_folder))
    assert found == dataclasses.asdict(Cost.of_trainer(trainer)) | {"network": None, "processes": None}
    # nnU-Net's networks list theirs several times.
    assert found["parameters"] < sum(tensor.numel() for tensor in trainer.network.state_dict().values())


def test_a_checkpoint_alone_leaves_the_rest_open(trained):
    folder = Path(trained(nnUNetTrainer).output_folder)
    (folder / "debug.json").unlink()
    found = cost_of(folder)
    assert found["epoch_seconds"] == 10.0
    assert {key for key, value in found.items() if value is None} == {
        "network",
        "iterations_per_epoch",
        "peak_memory_bytes",
        "processes",
        "device",
        "torch",
    }


def test_statistics_of_norms_are_no_parameters():
    layers = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 1), torch.nn.BatchNorm2d(3))
    again = torch.nn.ModuleDict({"first": layers, "second": layers})
    assert _count_parameters(again.state_dict()) == 2 * 3 + 3 + 2 * 3


def test_what_was_written_is_read_as_it_is(tmp_path):
    (tmp_path / COST_FILE).write_text('{"parameters": 5}')
    assert cost_of(tmp_path) == {"parameters": 5}


def test_no_training_no_cost(tmp_path, capsys):
    assert cost_of(tmp_path) is None
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", [COST_FILE, "checkpoint_final.pth"])
def test_what_cannot_be_read_is_said(tmp_path, capsys, name):
    (tmp_path / name).write_text("{")
    assert cost_of(tmp_path) is None
    assert f"the cost of {tmp_path} is unknown" in capsys.readouterr().err
