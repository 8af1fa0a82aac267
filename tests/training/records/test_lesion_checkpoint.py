"""The lesion F1 of validation cases during a training, and the checkpoint of the best network."""

import math
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from PIL import Image

from nnunetv2_mamba.training.records.lesion_checkpoint import BEST, CURVE, LesionCheckpointMixin
from nnunetv2_mamba.training.safety.safe_checkpoint import EXTRAS_KEY
from tests.training.curriculum import conftest
from tests.training.curriculum.test_mixin import state_of

make_trainer, preprocessed = conftest.make_trainer, conftest.preprocessed


class EveryEpoch(LesionCheckpointMixin, nnUNetTrainer):
    lesion_checkpoint_every: ClassVar = 1


class EveryThird(EveryEpoch):
    lesion_checkpoint_every: ClassVar = 3


class Scripted(EveryEpoch):
    """Whose lesion F1 is given."""

    script: ClassVar = [0.2, 0.7, 0.5, 0.7]

    def _lesion_f1(self) -> float:
        return self.script[self.current_epoch]


@pytest.fixture
def make(make_trainer):
    """Call with a trainer class; further arguments go into dataset.json."""

    def make_short(trainer_class: type[nnUNetTrainer], **dataset: object) -> nnUNetTrainer:
        trainer = make_trainer(trainer_class, **dataset)
        trainer.num_epochs, trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = 4, 5, 1
        trainer.initial_lr = 0.1
        return trainer

    return make_short


def best(trainer) -> Path:
    return Path(trainer.output_folder) / BEST


def train(trainer) -> None:
    torch.manual_seed(1)
    np.random.seed(1)
    trainer.on_train_start()
    for _ in range(trainer.current_epoch, trainer.num_epochs):
        epoch(trainer)


def epoch(trainer) -> None:
    trainer.on_epoch_start()
    trainer.on_train_epoch_start()
    outputs = [trainer.train_step(next(trainer.dataloader_train)) for _ in range(trainer.num_iterations_per_epoch)]
    trainer.on_train_epoch_end(outputs)
    with torch.no_grad():
        trainer.on_validation_epoch_start()
        trainer.on_validation_epoch_end([trainer.validation_step(next(trainer.dataloader_val))])
    trainer.on_epoch_end()


def test_it_is_logged_drawn_and_kept(make):
    trainer = make(EveryEpoch)
    train(trainer)
    curve = trainer.logger.get_value(CURVE, None)
    assert len(curve) == 4
    assert all(0 <= value <= 1 for value in curve)
    with Image.open(Path(trainer.output_folder) / "lesion_progress.png") as picture:
        assert min(picture.size) > 100
    assert "lesion F1 of the validation cases" in Path(trainer.log_file).read_text()
    checkpoint = torch.load(best(trainer), weights_only=False)
    assert checkpoint["current_epoch"] == int(np.argmax(curve)) + 1
    trainer.network.load_state_dict(checkpoint["network_weights"])
    assert trainer._lesion_f1() == max(curve)


def test_the_first_network_with_the_highest_value_is_kept(make):
    trainer = make(Scripted)
    train(trainer)
    checkpoint = torch.load(best(trainer), weights_only=False)
    assert checkpoint["current_epoch"] == 2
    assert checkpoint["optimizer_state"][EXTRAS_KEY]["best_lesion_f1"] == 0.7
    assert {len(curve) for curve in checkpoint["logging"].values() if curve} == {2}


def test_other_epochs_have_no_value_and_the_last_one_has(make):
    trainer = make(EveryThird)
    train(trainer)
    known = [not math.isnan(value) for value in trainer.logger.get_value(CURVE, None)]
    assert known == [False, False, True, True]


def test_resume_keeps_the_best_value(make):
    first = make(Scripted)
    first.on_train_start()
    epoch(first)
    epoch(first)
    latest = Path(first.output_folder) / "checkpoint_latest.pth"
    first.current_epoch -= 1
    first.save_checkpoint(str(latest))
    kept = best(first).read_bytes()
    again = make(Scripted)
    again.load_checkpoint(str(latest))
    assert again.current_epoch == 2
    train(again)
    assert best(again).read_bytes() == kept
    assert len(again.logger.get_value(CURVE, None)) == 4


def test_the_training_is_the_same_bit_for_bit(make):
    ours, stock = make(EveryEpoch), make(nnUNetTrainer)
    train(ours)
    train(stock)
    assert all(torch.equal(a, b) for a, b in zip(state_of(ours), state_of(stock), strict=True))


# nnU-Net's own, about a class that no image shows.
@pytest.mark.filterwarnings("ignore:invalid value encountered in scalar divide")
@pytest.mark.parametrize(
    "dataset",
    [
        {"labels": {"background": 0, "all": [1, 2], "core": [2]}, "regions_class_order": [1, 2]},
        {"labels": {"background": 0, "blob": 1, "other": 2}},
    ],
    ids=["regions", "classes"],
)
def test_regions_and_classes(make, dataset):
    trainer = make(EveryEpoch, **dataset)
    trainer.on_train_start()
    epoch(trainer)
    assert 0 <= trainer.logger.get_value(CURVE, None)[0] <= 1


def test_a_perfect_network_has_one(make):
    trainer = make(EveryEpoch)
    trainer.on_train_start()
    lesion = torch.from_numpy(conftest.blob(conftest.RADII["validation"]))[0]
    trainer._predicted = lambda predictor, case: (lesion[0].numpy(), lesion[0].numpy(), (1.0, 1.0))
    assert trainer._lesion_f1() == 1
    nothing = np.zeros((8, 8), np.uint8)
    trainer._predicted = lambda predictor, case: (nothing, nothing, (1.0, 1.0))
    assert math.isnan(trainer._lesion_f1())
