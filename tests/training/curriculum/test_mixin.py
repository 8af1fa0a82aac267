"""The curriculum in whole trainings of tiny networks on tiny images, against stock nnU-Net's."""

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from PIL import Image

from nnunetv2_mamba.trainers.nnUNetTrainerCurriculum import nnUNetTrainerCurriculum
from nnunetv2_mamba.trainers.nnUNetTrainerS3Mamba import nnUNetTrainerS3Mamba
from nnunetv2_mamba.training.curriculum import Curriculum, CurriculumMixin
from nnunetv2_mamba.training.curriculum.lesion_sizes import CACHE, CurriculumError
from nnunetv2_mamba.training.curriculum.progress import CURVES, LOSSES, PACING, SAMPLE_SIZE, WEIGHTS
from nnunetv2_mamba.training.robust_trainer import RobustTrainer
from nnunetv2_mamba.training.safety.safe_checkpoint import EXTRAS_KEY
from tests.training.curriculum.conftest import RADII, blob, save_case

TRAINING = sorted(set(RADII) - {"validation"})
RANKED = sorted(set(TRAINING) - {"empty"})
N_STEPS = 20


class StrengthZero(nnUNetTrainerCurriculum):
    curriculum: ClassVar = Curriculum(strength=0)


class InMiniBatch(nnUNetTrainerCurriculum):
    curriculum: ClassVar = Curriculum(ranking="mini-batch")


class OnStockTrainer(CurriculumMixin, nnUNetTrainer):
    num_epochs = 3


class SmallS3Mamba(nnUNetTrainerS3Mamba):
    network_overrides: ClassVar = {"features_per_stage": (8, 16), "d_state": 2, "reduction": 4}


def steps_of(trainer: nnUNetTrainer, n_steps: int = N_STEPS) -> list[float]:
    """Losses of the first steps of a training."""
    torch.manual_seed(0)
    trainer.on_train_start()
    trainer.on_train_epoch_start()
    torch.manual_seed(1)
    np.random.seed(1)
    return [float(trainer.train_step(next(trainer.dataloader_train))["loss"]) for _ in range(n_steps)]


def state_of(trainer: nnUNetTrainer) -> list[torch.Tensor]:
    return list(trainer.network.state_dict().values())


def weights_by_case(trainer: CurriculumMixin) -> dict[str, float]:
    return dict(zip(trainer.measurer.cases, trainer.case_weights, strict=True))


@pytest.fixture
def trained(make_trainer) -> SmallS3Mamba:
    trainer = make_trainer(SmallS3Mamba)
    trainer.run_training()
    return trainer


def test_the_log_says_how_many_lesions_are_smaller_than_a_token(trained):
    lines = [line for line in Path(trained.log_file).read_text().splitlines() if "token" in line]
    assert len(lines) == 1
    assert (
        "smaller than one token of S3Mamba (4 x 4 voxels), in 5 of 5 training cases: 25% of blob (1 of 4)." in lines[0]
    )


def test_a_segmentation_that_cannot_be_compared_with_tokens_stops_nothing(make_trainer, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise OSError("odd file")

    monkeypatch.setattr("nnunetv2_mamba.training.trainer.warn_of_lesions_below_token", fail)
    trainer = make_trainer(SmallS3Mamba)
    trainer.on_train_start()
    assert "not compared with the tokens of S3Mamba: odd file" in Path(trainer.log_file).read_text()


@pytest.mark.parametrize("batch_dice", [True, False])
def test_strength_zero_trains_bit_for_bit_as_nnunet_does(make_trainer, batch_dice):
    stock, ours, weighted = (
        make_trainer(trainer_class, batch_dice)
        for trainer_class in (nnUNetTrainer, StrengthZero, nnUNetTrainerCurriculum)
    )
    expected, found, others = steps_of(stock), steps_of(ours), steps_of(weighted)
    assert found == expected != others
    assert all(torch.equal(a, b) for a, b in zip(state_of(ours), state_of(stock), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(state_of(weighted), state_of(stock), strict=True))


def test_first_epoch_ranks_by_lesion_size_and_the_last_one_by_loss_reversed(make_trainer):
    trainer = make_trainer(nnUNetTrainerCurriculum)
    trainer.on_train_start()
    trainer.on_train_epoch_start()
    first = weights_by_case(trainer)
    assert first["large"] > first["middle"] > first["small"] > first["tiny"]
    assert (first["large"], first["tiny"]) == pytest.approx((1, 0.55))
    assert first["empty"] == 1
    trainer.measurer.record(trainer.measurer.positions(RANKED), np.arange(len(RANKED)) / 10)
    trainer.measurer.end_epoch(lambda sums: sums)
    trainer.current_epoch = trainer.num_epochs - 1
    trainer.on_train_epoch_start()
    last = weights_by_case(trainer)
    assert sorted(RANKED, key=last.get) == RANKED
    assert last["empty"] == 1


def test_a_training_measures_losses_of_cases_with_lesions_only(trained):
    measurer = trained.measurer
    assert measurer.cases == TRAINING
    seen = {case: (loss, visits) for case, loss, visits in zip(TRAINING, measurer.losses, measurer.visits, strict=True)}
    assert seen["empty"][1] == 0
    assert np.isnan(seen["empty"][0])
    assert all(np.isfinite(loss) and visits for case, (loss, visits) in seen.items() if case in RANKED)
    # A batch of three, five steps an epoch, four epochs.
    assert 0 < measurer.visits.sum() <= 60


def test_every_epoch_is_logged_through_nnunets_logger(trained):
    log = {key: trained.logger.get_value(key, None) for key in (*CURVES, "train_losses")}
    assert {len(values) for values in log.values()} == {4}
    assert log[PACING] == pytest.approx([0, 0.206107, 0.904508, 1], abs=1e-5)
    for least, low, median, high, greatest in zip(*(log[key] for key in WEIGHTS), strict=True):
        assert 0.55 <= least <= low <= median <= high <= greatest <= 1
    assert all(1 < size <= len(TRAINING) for size in log[SAMPLE_SIZE])
    assert all(np.isfinite(log[key]).any() for key in LOSSES)
    text = Path(trained.log_file).read_text()
    assert text.count("curriculum: pacing") == 4
    assert f"effective sample size {log[SAMPLE_SIZE][0]:.1f} of 5" in text


def test_figure_lies_beside_nnunets_own(trained):
    folder = Path(trained.output_folder)
    with Image.open(folder / "curriculum.png") as figure:
        assert min(figure.size) > 500
    assert [file.name for file in folder.glob(".*")] == []


def test_state_is_in_the_checkpoint_and_comes_back(trained, make_trainer):
    resumed = make_trainer(SmallS3Mamba)
    resumed.load_checkpoint(str(Path(trained.output_folder, "checkpoint_final.pth")))
    resumed.on_train_start()
    np.testing.assert_array_equal(resumed.measurer.losses, trained.measurer.losses)
    np.testing.assert_array_equal(resumed.measurer.visits, trained.measurer.visits)
    resumed.current_epoch = trained.current_epoch = 3
    for trainer in (resumed, trained):
        trainer.on_train_epoch_start()
    assert weights_by_case(resumed) == weights_by_case(trained)


def test_a_case_added_since_the_checkpoint_starts_anew(trained, make_trainer, preprocessed):
    save_case(preprocessed.data, "another", blob(5))
    split = preprocessed.folder / "splits_final.json"
    split.write_text(split.read_text().replace('"train": [', '"train": ["another", '))
    resumed = make_trainer(SmallS3Mamba)
    resumed.load_checkpoint(str(Path(trained.output_folder, "checkpoint_final.pth")))
    resumed.on_train_start()
    assert "has no losses of another; they start without any" in Path(resumed.log_file).read_text()
    assert np.isnan(resumed.measurer.losses[resumed.measurer.positions(["another"])])


def test_any_trainer_gains_it_by_one_base_class(make_trainer):
    trainer = make_trainer(OnStockTrainer)
    trainer.num_epochs = trainer.num_iterations_per_epoch = trainer.num_val_iterations_per_epoch = 2
    trainer.run_training()
    assert trainer.measurer.visits.any()
    checkpoint = torch.load(Path(trainer.output_folder, "checkpoint_final.pth"), weights_only=False)
    assert checkpoint["optimizer_state"][EXTRAS_KEY]["curriculum"].keys() == set(TRAINING)


def test_validation_uses_the_stock_loss(make_trainer):
    trainer = make_trainer(nnUNetTrainerCurriculum)
    stock = make_trainer(RobustTrainer)
    for either in (trainer, stock):
        either.on_train_start()
    stock.network.load_state_dict(trainer.network.state_dict())
    batch = next(trainer.dataloader_val)
    assert trainer.validation_step(batch)["loss"] == stock.validation_step(batch)["loss"]


def test_ranking_within_the_mini_batch(make_trainer):
    trainer = make_trainer(InMiniBatch)
    trainer.on_train_start()
    cases = trainer.measurer.positions(["large", "empty", "tiny", "small"])
    losses = torch.tensor([0.1, float("nan"), 0.5, 0.3])
    trainer.on_train_epoch_start()
    by_size = trainer._weigh(cases)(losses)
    assert by_size.tolist() == pytest.approx([1, 1, 0.55, 0.5 + 0.5 / 5.5])
    trainer.current_epoch = trainer.num_epochs - 1
    trainer.on_train_epoch_start()
    by_loss = trainer._weigh(cases)(losses)
    assert by_loss.tolist() == pytest.approx([0.55, 1, 1, 0.5 + 0.5 / 5.5])
    # Nothing to see of the small lesion in this patch: the weight of its case, second smallest of four.
    losses[3] = float("nan")
    without = trainer._weigh(cases)(losses)
    assert without.tolist() == pytest.approx([0.55, 1, 1, weights_by_case(trainer)["small"]])
    assert all(np.isfinite(steps_of(make_trainer(InMiniBatch), 2)))


def test_regions(make_trainer):
    labels = {"background": 0, "whole": [1, 2], "core": 2}
    trainer = make_trainer(nnUNetTrainerCurriculum, labels=labels, regions_class_order=[1, 2])
    assert all(np.isfinite(steps_of(trainer, 2)))


def remove_foreground(preprocessed):
    for case in TRAINING:
        save_case_again(preprocessed, case, blob(0))


def save_case_again(preprocessed, case, segmentation):
    for file in preprocessed.data.glob(f"{case}*"):
        file.unlink()
    save_case(preprocessed.data, case, segmentation)


def remove_a_case(preprocessed):
    for file in preprocessed.data.glob("small*"):
        file.unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove_foreground, "none of the 5 training cases of fold 0 has foreground, so there are no lesions to rank"),
        (remove_a_case, "training case small has neither small_seg.b2nd nor"),
    ],
)
def test_bad_data_are_refused_before_the_first_step(make_trainer, preprocessed, damage, message):
    first = make_trainer(nnUNetTrainerCurriculum)
    first.on_train_start()
    damage(preprocessed)
    trainer = make_trainer(nnUNetTrainerCurriculum)
    with pytest.raises(CurriculumError, match=message):
        trainer.run_training()
    assert trainer.dataloader_train is None


def test_folder_that_cannot_be_written_to_costs_only_time(make_trainer, preprocessed):
    # A folder where the file should be: the tests may run with rights that no permission stops.
    (preprocessed.data / CACHE).mkdir(parents=True)
    trainer = make_trainer(nnUNetTrainerCurriculum)
    assert trainer._lesion_sizes().keys() == set(TRAINING)
    assert "lesions are measured again next time" in Path(trainer.log_file).read_text()
    assert [file.name for file in (preprocessed.data / CACHE).parent.iterdir()] == [CACHE.name]


@pytest.mark.gpu
@pytest.mark.compile
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.filterwarnings("ignore")  # of torch's compiler about itself
@pytest.mark.parametrize(("trainer_class", "dtype"), [(SmallS3Mamba, "float16"), (nnUNetTrainerCurriculum, "bfloat16")])
def test_on_a_gpu_it_trains_compiled_and_in_half_precision(make_trainer, monkeypatch, trainer_class, dtype):
    monkeypatch.setenv("NNUNETV2_MAMBA_AUTOCAST", dtype)
    trainer = make_trainer(trainer_class, device="cuda")
    trainer.run_training()
    assert trainer._do_i_compile()
    assert np.isfinite(trainer.logger.get_value("train_losses", None)).all()
    assert np.isfinite(trainer.logger.get_value("val_losses", None)).all()
    assert all(tensor.isfinite().all() for tensor in state_of(trainer))
