"""Sampling by lesions in whole trainings of tiny networks on tiny images."""

import math
from collections import Counter
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunetv2_mamba.training.curriculum import CurriculumMixin
from nnunetv2_mamba.training.instances import InstanceLossMixin
from nnunetv2_mamba.training.sampling import LesionSamplingMixin
from nnunetv2_mamba.training.sampling.lesions import SamplingError
from tests.training.curriculum.conftest import RADII, blob, save_case
from tests.training.curriculum.test_mixin import steps_of


class OnStock(LesionSamplingMixin, nnUNetTrainer):
    oversample_foreground_percent = 1.0


class PrefersSmall(OnStock):
    lesion_size_exponent: ClassVar = 1.0


class WithEverything(CurriculumMixin, InstanceLossMixin, OnStock):
    pass


class OwnLoaders(nnUNetTrainer):
    def get_dataloaders(self):
        return iter([]), iter([])


class OnOwnLoaders(LesionSamplingMixin, OwnLoaders):
    pass


def started(make_trainer, trainer_class, **dataset):
    trainer = make_trainer(trainer_class, **dataset)
    trainer.oversample_foreground_percent = 1.0
    trainer.on_train_start()
    return trainer


@pytest.mark.parametrize("trainer_class", [OnStock, PrefersSmall, WithEverything], ids=lambda found: found.__name__)
def test_it_trains(make_trainer, trainer_class):
    losses = steps_of(make_trainer(trainer_class))
    assert all(map(math.isfinite, losses))
    assert np.mean(losses[-5:]) < np.mean(losses[:5])


def test_patches_show_lesions_of_all_cases_alike(make_trainer):
    trainer = started(make_trainer, OnStock)
    keys, shown = Counter(), []
    for _ in range(60):
        batch = next(trainer.dataloader_train)
        keys.update(batch["keys"])
        shown += (batch["target"][0] == 1).flatten(1).any(1).tolist()
    assert keys.keys() == {"tiny", "small", "middle", "large"}
    assert max(keys.values()) < 2 * min(keys.values())
    assert np.mean(shown) > 0.95  # a rotation can turn a lesion at the corner out of the patch
    assert "4 lesions in 4 of 5 training cases" in Path(trainer.log_file).read_text()


def test_small_lesions_can_be_preferred(make_trainer):
    trainer = started(make_trainer, PrefersSmall)
    keys = Counter(key for _ in range(40) for key in next(trainer.dataloader_train)["keys"])
    assert keys["tiny"] > keys["small"] > keys["large"]


def test_validation_is_nnunets(make_trainer):
    stock, ours = (started(make_trainer, trainer_class) for trainer_class in (nnUNetTrainer, OnStock))
    assert type(ours.dataloader_val.data_loader) is type(stock.dataloader_val.data_loader)


def test_a_volume_in_slices(make_trainer, preprocessed):
    for name in RADII:
        for file in preprocessed.data.glob(f"{name}*"):
            file.unlink()
        volume = np.concatenate([blob(0), blob(2), blob(2), blob(0)], axis=1)
        save_case(preprocessed.data, name, volume)
    trainer = started(make_trainer, OnStock)
    targets = [next(trainer.dataloader_train)["target"][0] for _ in range(10)]
    assert np.mean([(target == 1).flatten(1).any(1).float().mean() for target in targets]) > 0.95


# A thread of the workers' queue may still be reading when they end; nnU-Net ends its own alike.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_workers_load_too(make_trainer, monkeypatch):
    monkeypatch.setenv("nnUNet_n_proc_DA", "1")
    trainer = started(make_trainer, OnStock)
    try:
        assert next(trainer.dataloader_train)["target"][0].any()
    finally:
        trainer.dataloader_train._finish()
        trainer.dataloader_val._finish()


def test_a_dataset_without_lesions_is_refused(make_trainer, preprocessed):
    for name in RADII:
        for file in preprocessed.data.glob(f"{name}*"):
            file.unlink()
        save_case(preprocessed.data, name, blob(0))
    with pytest.raises(SamplingError, match="none of the 5 training cases has foreground"):
        make_trainer(OnStock).on_train_start()


def test_loaders_of_ones_own_are_refused(make_trainer):
    with pytest.raises(
        SamplingError, match=r"OnOwnLoaders has data loaders of its own .list_iterator.*put LesionSampl"
    ):
        make_trainer(OnOwnLoaders).on_train_start()
