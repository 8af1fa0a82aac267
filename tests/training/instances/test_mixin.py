"""The loss of lesions in whole trainings of tiny networks on tiny images."""

import math
from typing import ClassVar

import numpy as np
import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.training.nnUNetTrainer.variants.loss.nnUNetTrainerTopkLoss import nnUNetTrainerDiceTopK10Loss
from nnunetv2.training.nnUNetTrainer.variants.network_architecture.nnUNetTrainerNoDeepSupervision import (
    nnUNetTrainerNoDeepSupervision,
)

from nnunetv2_mamba.trainers.nnUNetTrainerS3MambaFine import nnUNetTrainerS3MambaFine
from nnunetv2_mamba.training.curriculum import CurriculumMixin
from nnunetv2_mamba.training.instances import BlobLoss, ComponentTversky, InstanceLossMixin
from tests.training.curriculum.conftest import RADII, Preprocessed, blob, save_case
from tests.training.curriculum.test_mixin import state_of, steps_of


class OnStock(InstanceLossMixin, nnUNetTrainer):
    pass


class Weightless(OnStock):
    instance_weight: ClassVar = 0.0


class WithoutDeepSupervision(InstanceLossMixin, nnUNetTrainerNoDeepSupervision):
    pass


class OnTopK(InstanceLossMixin, nnUNetTrainerDiceTopK10Loss):
    pass


class Blob(OnStock):
    instance_term: ClassVar = BlobLoss()


class Tversky(OnStock):
    instance_term: ClassVar = ComponentTversky()


class WithCurriculum(CurriculumMixin, OnStock):
    pass


class SmallS3MambaFine(InstanceLossMixin, nnUNetTrainerS3MambaFine):
    network_overrides: ClassVar = {"features_per_stage": (4, 6, 8, 16), "d_state": 2, "reduction": 4}


def leave_out(preprocessed: Preprocessed, ignore: int) -> None:
    """Give the first rows of all cases the ignore label, and list the others as nnU-Net's preprocessing does."""
    for name, radius in RADII.items():
        segmentation = blob(radius)
        segmentation[:, :, :4] = ignore
        # Sparsely annotated cases are sampled among their annotated voxels, which have a key of their own.
        annotated = {(-1, *range(ignore)): np.argwhere(segmentation != ignore)}
        for file in preprocessed.data.glob(f"{name}*"):
            file.unlink()
        save_case(preprocessed.data, name, segmentation, annotated)


# torch's, about how nnU-Net's TopKLoss is made.
@pytest.mark.filterwarnings("ignore:size_average and reduce")
@pytest.mark.parametrize(
    "trainer_class",
    [OnStock, WithoutDeepSupervision, OnTopK, Blob, Tversky, WithCurriculum, SmallS3MambaFine],
    ids=lambda trainer_class: trainer_class.__name__,
)
def test_every_kind_of_trainer_trains_with_it(make_trainer, trainer_class):
    trainer = make_trainer(trainer_class)
    losses = steps_of(trainer)
    assert all(map(math.isfinite, losses))
    assert np.mean(losses[-5:]) < np.mean(losses[:5])


@pytest.mark.parametrize(
    "dataset",
    [
        {"labels": {"background": 0, "blob": 1, "other": 2}},
        {"labels": {"background": 0, "blob": 1, "ignore": 2}},
        {"labels": {"background": 0, "all": [1, 2], "core": [2]}, "regions_class_order": [1, 2]},
        {"labels": {"background": 0, "all": [1, 2], "core": [2], "ignore": 3}, "regions_class_order": [1, 2]},
    ],
    ids=["classes", "ignore", "regions", "regions with ignore"],
)
def test_it_takes_classes_regions_and_an_ignore_label(make_trainer, preprocessed, dataset):
    if ignore := dataset["labels"].get("ignore"):
        leave_out(preprocessed, ignore)
    trainer = make_trainer(OnStock, **dataset)
    assert all(map(math.isfinite, steps_of(trainer, 4)))
    cells = next(trainer.dataloader_train)["target"][-1]
    assert cells.shape[1] == trainer.label_manager.num_segmentation_heads - (not trainer.label_manager.has_regions)
    assert cells[:, 0].any()


def test_with_weight_zero_it_trains_bit_for_bit_as_nnunet_does(make_trainer):
    stock, ours, weighted = (make_trainer(trainer_class) for trainer_class in (nnUNetTrainer, Weightless, OnStock))
    expected, found, others = steps_of(stock, 6), steps_of(ours, 6), steps_of(weighted, 6)
    assert found == expected != others
    assert all(torch.equal(a, b) for a, b in zip(state_of(ours), state_of(stock), strict=True))


def test_validation_uses_the_stock_loss(make_trainer):
    stock, ours = make_trainer(nnUNetTrainer), make_trainer(OnStock)
    for trainer in (stock, ours):
        trainer.on_train_start()
        trainer.on_validation_epoch_start()
    ours.network.load_state_dict(stock.network.state_dict())
    batch = next(stock.dataloader_val)
    assert ours.validation_step(batch)["loss"] == stock.validation_step(batch)["loss"]


def test_the_cells_are_those_of_the_augmented_reference(make_trainer):
    trainer = make_trainer(OnStock)
    trainer.on_train_start()
    for _ in range(5):
        *targets, cells = next(trainer.dataloader_train)["target"]
        assert cells.shape == targets[0].shape
        lesion = targets[0] == 1
        # One square a patch, or none.
        assert torch.equal(cells.amax((1, 2, 3)) > 0, lesion.any((1, 2, 3)).flatten(0, 0).view(len(cells), -1).any(1))
        assert bool((cells[lesion] > 0).all())


def test_a_whole_training_ends_as_nnunets_does(make_trainer):
    trainer = make_trainer(SmallS3MambaFine)
    trainer.run_training()
    assert len(trainer.logger.get_value("train_losses", None)) == 4


def test_the_order_of_the_curriculum_is_said_before_the_first_step(make_trainer):
    wrong = type("WrongOrder", (InstanceLossMixin, CurriculumMixin, nnUNetTrainer), {})
    with pytest.raises(
        TypeError, match="in the bases of WrongOrder, put CurriculumMixin in front of InstanceLossMixin"
    ):
        make_trainer(wrong).initialize()
