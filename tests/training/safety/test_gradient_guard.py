"""Steps without a finite loss and gradient leave no trace, and too many of them stop the training."""

import math
from collections.abc import Callable
from copy import deepcopy
from multiprocessing import connection
from pathlib import Path

import numpy as np
import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import nn

from nnunetv2_mamba.training.robust_trainer import RobustTrainer
from nnunetv2_mamba.training.safety.gradient_guard import GradientGuard, TrainingDivergedError
from tests.distributed import needs_distributed
from tests.training import guarded_rank
from tests.training.batches import batch_for

NETWORK = {
    "n_stages": 3,
    "features_per_stage": [4, 8, 8],
    "strides": [[1, 1], [2, 2], [2, 2]],
    "kernel_sizes": [[3, 3]] * 3,
    "n_conv_per_stage": [1, 1, 1],
    "n_conv_per_stage_decoder": [1, 1],
    "conv_bias": True,
    # Running statistics, which a forward pass changes though the step is skipped afterwards.
    "norm_op": "torch.nn.modules.batchnorm.BatchNorm2d",
    "norm_op_kwargs": {},
    "nonlin": "torch.nn.LeakyReLU",
}


class GuardedTrainer(RobustTrainer):
    pass


class AdamWTrainer(RobustTrainer):
    def configure_optimizers(self):
        _, schedule = super().configure_optimizers()
        schedule.optimizer = torch.optim.AdamW(self.network.parameters(), lr=1e-3)
        return schedule.optimizer, schedule


@pytest.fixture(params=[False, True], ids=["unscaled", "scaled"])
def make(make_trainer, request) -> Callable[[type], nnUNetTrainer]:
    """Initialised trainers with equal small U-Nets, with and without GradScaler."""

    def initialized(trainer_class: type = GuardedTrainer) -> nnUNetTrainer:
        trainer = make_trainer(trainer_class)
        architecture = trainer.configuration_manager.configuration["architecture"]
        architecture["arch_kwargs"].update(NETWORK)
        architecture["_kw_requires_import"] = ["conv_op", "norm_op", "nonlin"]
        torch.manual_seed(0)
        trainer.initialize()
        if request.param:
            trainer.grad_scaler = torch.amp.GradScaler("cpu")
        trainer.current_epoch = 3
        for curve in trainer.logger.local_logger.my_fantastic_logging.values():
            curve.extend([0.5] * 3)
        trainer.on_train_epoch_start()
        return trainer

    return initialized


def state(trainer: nnUNetTrainer) -> dict[str, torch.Tensor]:
    """Copies of weights, buffers and what the optimizer remembers."""
    of_optimizer = {
        f"{number}.{key}": value
        for number, slots in trainer.optimizer.state_dict()["state"].items()
        for key, value in slots.items()
        if value is not None
    }
    return deepcopy({**trainer.network.state_dict(), **of_optimizer})


def assert_same_state(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    assert [key for key in first if not torch.equal(first[key], second[key])] == []


def spoil_loss(trainer: nnUNetTrainer, value: float) -> Callable[[], None]:
    # Added, so that its gradients stay finite.
    return trainer.loss.register_forward_hook(lambda module, arguments, loss: loss + value, prepend=True).remove


def spoil_gradient(trainer: nnUNetTrainer, value: float) -> Callable[[], None]:
    parameter = next(parameter for parameter in trainer.network.parameters())
    return parameter.register_hook(lambda gradient: torch.full_like(gradient, value)).remove


def spoil_activations(trainer: nnUNetTrainer, value: float) -> Callable[[], None]:
    return trainer.network.register_forward_pre_hook(lambda module, arguments: (arguments[0] + value,)).remove


def test_finite_steps_are_stock_training_bit_by_bit(make):
    stock, guarded = make(nnUNetTrainer), make(GuardedTrainer)
    for step in range(20):
        losses = [trainer.train_step(batch_for(trainer, seed=step))["loss"] for trainer in (stock, guarded)]
        assert losses[0] == losses[1]
        assert losses[0].dtype == losses[1].dtype
    assert_same_state(state(stock), state(guarded))
    assert guarded.gradient_guard.in_epoch == 0


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("spoil", [spoil_loss, spoil_gradient, spoil_activations])
@pytest.mark.parametrize("trainer_class", [GuardedTrainer, AdamWTrainer])
def test_a_skipped_step_leaves_no_trace(make, trainer_class, spoil, value):
    trainer, spared = make(trainer_class), make(trainer_class)
    for step in range(2):
        trainer.train_step(batch_for(trainer, seed=step))
        spared.train_step(batch_for(spared, seed=step))
    repair = spoil(trainer, value)
    trainer.train_step(batch_for(trainer, seed=99))
    repair()
    assert (trainer.gradient_guard.in_a_row, trainer.gradient_guard.in_epoch) == (1, 1)
    assert_same_state(state(trainer), state(spared))
    # GradScaler goes on with half its scale, a power of two that changes no bit of a gradient.
    for step in range(2, 4):
        trainer.train_step(batch_for(trainer, seed=step))
        spared.train_step(batch_for(spared, seed=step))
    assert (trainer.gradient_guard.in_a_row, trainer.gradient_guard.in_epoch) == (0, 1)
    assert_same_state(state(trainer), state(spared))


def test_skipped_steps_are_counted_and_do_not_spoil_the_mean_loss(make):
    trainer = make()
    outputs = [trainer.train_step(batch_for(trainer, seed=0))]
    repair = spoil_loss(trainer, math.inf)
    outputs += [trainer.train_step(batch_for(trainer, seed=1)) for _ in range(2)]
    repair()
    outputs.append(trainer.train_step(batch_for(trainer, seed=2)))
    trainer.on_train_epoch_end(outputs)
    curves = trainer.logger.local_logger.my_fantastic_logging
    assert curves["train_losses"][3] == pytest.approx((outputs[0]["loss"] + outputs[3]["loss"]) / 2, rel=1e-6)
    # Epochs of a checkpoint from before this curve was logged count as epochs without skipped steps.
    assert curves["skipped_steps"] == [0, 0, 0, 2]
    assert "2 of 4 training steps were skipped" in Path(trainer.log_file).read_text()

    trainer.current_epoch = 4
    spoil_loss(trainer, math.nan)
    trainer.on_train_epoch_end([trainer.train_step(batch_for(trainer))])
    assert np.isnan(curves["train_losses"][4])
    assert curves["skipped_steps"] == [0, 0, 0, 2, 1]


def test_validation_is_neither_changed_nor_counted(make):
    trainer = make()
    spoil_loss(trainer, math.inf)
    with torch.no_grad():
        assert trainer.validation_step(batch_for(trainer))["loss"] == math.inf
    assert trainer.gradient_guard.in_epoch == 0


def test_too_many_in_a_row_stop_with_a_checkpoint_to_continue_from(make):
    trainer = make()
    trainer.train_step(batch_for(trainer))
    finite, scale = state(trainer), trainer.grad_scaler and trainer.grad_scaler.get_scale()
    spoil_loss(trainer, math.nan)
    for _ in range(24):
        trainer.train_step(batch_for(trainer))
    with pytest.raises(TrainingDivergedError, match=r"^25 training steps in a row .* epoch 3 by --c\.$") as error:
        trainer.train_step(batch_for(trainer))
    assert "\n" not in str(error.value)

    resumed = make()
    resumed.load_checkpoint(str(Path(trainer.output_folder, "checkpoint_latest.pth")))
    assert_same_state(state(resumed), finite)
    assert resumed.current_epoch == 3
    assert {len(curve) for curve in resumed.logger.local_logger.my_fantastic_logging.values()} == {3}
    assert (resumed.grad_scaler and resumed.grad_scaler.get_scale()) == scale
    resumed.on_train_epoch_start()
    assert np.isfinite(resumed.train_step(batch_for(resumed))["loss"])
    assert resumed.gradient_guard.in_a_row == 0


def test_a_finite_step_in_between_starts_the_count_again(make):
    trainer = make()
    trainer.max_skipped_steps = 3
    for _ in range(2):
        repair = spoil_loss(trainer, math.nan)
        for _ in range(2):
            trainer.train_step(batch_for(trainer))
        repair()
        trainer.train_step(batch_for(trainer))
    assert trainer.gradient_guard.in_epoch == 4


def test_without_checkpoints_the_message_promises_none(make):
    trainer = make()
    trainer.disable_checkpointing = True
    checkpoint = Path(trainer.output_folder, "checkpoint_latest.pth")
    checkpoint.unlink(missing_ok=True)
    spoil_loss(trainer, math.nan)
    for _ in range(24):
        trainer.train_step(batch_for(trainer))
    with pytest.raises(TrainingDivergedError, match=r"checkpoints are disabled; .* and start again\.$"):
        trainer.train_step(batch_for(trainer))
    assert not checkpoint.exists()


def test_weights_that_are_not_finite_replace_no_checkpoint(make):
    trainer = make()
    trainer.save_latest(next_epoch=3)
    checkpoint = Path(trainer.output_folder, "checkpoint_latest.pth")
    before = checkpoint.read_bytes()
    with torch.no_grad():
        next(trainer.network.parameters()).fill_(math.nan)
    for _ in range(24):
        trainer.train_step(batch_for(trainer))
    with pytest.raises(TrainingDivergedError, match="the weights are not finite either"):
        trainer.train_step(batch_for(trainer))
    assert checkpoint.read_bytes() == before


@needs_distributed
def test_an_infinite_loss_on_one_rank_skips_the_step_on_all(start, tmp_path):
    ranks = [start(guarded_rank.train, rank, tmp_path) for rank in range(guarded_rank.WORLD_SIZE)]
    first, second = ([results.recv() for _ in range(3)] for _, results in ranks)
    for process, _ in ranks:
        process.join()
    assert first == second
    assert [skipped for _, skipped in first] == [0, 1, 1]
    weights = [weights for weights, _ in first]
    assert weights[0] == weights[1] != weights[2]


@pytest.mark.parametrize(
    ("max_grad_norm", "expected"), [(1.0, [0.6, 0.0, 0.0, 0.8]), (5.0, [3.0, 0.0, 0.0, 4.0]), (None, [3.0, 0, 0, 4.0])]
)
def test_gradients_of_all_groups_are_clipped_together_before_the_step(max_grad_norm, expected):
    network = nn.ParameterList([torch.zeros(2), torch.zeros(2)])
    first, second = network
    optimizer = torch.optim.SGD([{"params": [first]}, {"params": [second]}], lr=1.0)
    GradientGuard(network, optimizer, nn.MSELoss(), max_grad_norm=max_grad_norm)
    first.grad, second.grad = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0])
    optimizer.step()
    torch.testing.assert_close(torch.cat([first, second]), -torch.tensor(expected), rtol=1e-6, atol=0)


@needs_distributed
def test_no_rank_ends_before_the_checkpoint_is_written(start, tmp_path):
    """The first rank that fails has the others killed: so torch.multiprocessing.spawn does, and nnU-Net with it."""
    ranks = [start(guarded_rank.stop, rank, tmp_path)[0] for rank in range(guarded_rank.WORLD_SIZE)]
    connection.wait([process.sentinel for process in ranks], timeout=60)
    for process in ranks:
        process.kill()
        process.join()
    assert (tmp_path / "checkpoint_latest.pth").exists()
