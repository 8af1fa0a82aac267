"""A step that runs out of memory ends in one sentence with the estimate and a remedy that works; checkpoints stay."""

import re
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import nn

from nnunetv2_mamba import cli
from nnunetv2_mamba.commands.plan import Plan
from nnunetv2_mamba.plans.derive import derive_plans
from nnunetv2_mamba.trainers.nnUNetTrainerVMUNet import nnUNetTrainerVMUNet
from nnunetv2_mamba.training.robust_trainer import RobustTrainer
from nnunetv2_mamba.training.safety.out_of_memory import TrainingOutOfMemoryError, activations_in_gib
from tests.training.batches import batch_for

GIB = 2**30


class SmallVMUNetTrainer(nnUNetTrainerVMUNet):
    network_overrides: ClassVar = {"features_per_stage": (8, 16), "d_state": 2}


def allocate_too_much(*_: object) -> None:
    """What a step of a network does that is too large for this machine."""
    torch.empty(1 << 55)


def run_out_of_gpu_memory(*_: object) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


@pytest.fixture
def starving(make_trainer):
    def make(trainer_class: type = SmallVMUNetTrainer, allocate=allocate_too_much) -> nnUNetTrainer:
        trainer = make_trainer(trainer_class)
        trainer.initialize()
        trainer.network.register_forward_pre_hook(allocate)
        return trainer

    return make


@pytest.mark.parametrize("allocate", [allocate_too_much, run_out_of_gpu_memory])
@pytest.mark.parametrize("step", ["train_step", "validation_step"])
def test_one_sentence_says_how_much_it_takes_and_what_helps(starving, allocate, step):
    trainer = starving(allocate=allocate)
    with pytest.raises(TrainingOutOfMemoryError) as refusal:
        getattr(trainer, step)(batch_for(trainer))
    said = str(refusal.value)
    gib = 4 * 2 * trainer.network.compute_conv_feature_map_size((16, 16)) / GIB
    assert said.startswith(
        f"out of memory: VMUNet keeps about {gib:.1f} GiB (as float32) of a batch of 2 patches of 16x16"
    )
    assert "NNUNETV2_MAMBA_CHECKPOINTED_STAGES=0," in said
    assert (
        "nnUNetv2_mamba plan -d Dataset999_Toy --from nnUNetPlans --network VMUNet --batch-size 1 --name NAME" in said
    )
    assert "\n" not in said
    assert refusal.value.__cause__ is not None


def test_the_remedies_are_taken(starving, monkeypatch):
    """The variable builds a smaller network, and the command is one that `plan` takes."""
    trainer = starving()
    first, second = trainer.memory_remedies()
    variable, value = re.match(r"set (\w+)=([\d,]+),", first).groups()
    monkeypatch.setenv(variable, value)
    lean = starving()
    assert activations_in_gib(lean.network, (16, 16), 2) < activations_in_gib(trainer.network, (16, 16), 2)
    assert "STAGES=0,1," in lean.memory_remedies()[0]
    monkeypatch.setenv(variable, "0,1")
    assert len(starving().memory_remedies()) == 1
    words = re.search(r"nnUNetv2_mamba plan (.+), and train", second).group(1).split()
    plan = cli.parse(Plan, "plan", words)
    assert (plan.batch_size, plan.network, plan.source) == (1, "VMUNet", "nnUNetPlans")


def test_the_latest_checkpoint_stays_and_is_named(starving):
    trainer = starving()
    latest = Path(trainer.output_folder, "checkpoint_latest.pth")
    trainer.save_latest(next_epoch=3)
    before = latest.read_bytes()
    try:
        with pytest.raises(
            TrainingOutOfMemoryError, match=re.escape(f"{latest} is not changed, and --c goes on with it.")
        ):
            trainer.train_step(batch_for(trainer))
        assert latest.read_bytes() == before
    finally:
        latest.unlink()


def test_networks_of_nnunet_get_a_remedy_too(starving):
    class PlainTrainer(RobustTrainer):
        @staticmethod
        def build_network_architecture(
            plans_manager, configuration_manager, num_input_channels, num_output_channels, enable_deep_supervision=True
        ) -> nn.Module:
            conv = {"conv_op": nn.Conv2d, "kernel_sizes": 3, "n_conv_per_stage": 1, "n_conv_per_stage_decoder": 1}
            return PlainConvUNet(1, 3, [4, 8, 8], strides=[1, 2, 2], num_classes=2, deep_supervision=True, **conv)

    trainer = starving(PlainTrainer)
    with pytest.raises(
        TrainingOutOfMemoryError, match=r'PlainConvUNet keeps .* "batch_size": 1 in a copy of the plans'
    ):
        trainer.train_step(batch_for(trainer))


def test_another_error_stays_what_it_is(starving):
    def fail(*_: object) -> None:
        raise RuntimeError("The size of tensor a must match the size of tensor b")

    trainer = starving(allocate=fail)
    with pytest.raises(RuntimeError, match=r"^The size of tensor a"):
        trainer.train_step(batch_for(trainer))


def test_derived_plans_take_the_batch_size_in_the_chosen_configurations_only():
    arch_kwargs = {"strides": [[1, 1]] + [[2, 2]] * 5, "conv_op": "torch.nn.modules.conv.Conv2d"}
    architecture = {"network_class_name": "Net", "arch_kwargs": arch_kwargs, "_kw_requires_import": ["conv_op"]}
    plans = {
        "plans_name": "P",
        "configurations": {
            "2d": {"batch_size": 12, "architecture": architecture},
            "2d_large": {"inherits_from": "2d", "batch_size": 48},
            "2d_other": {"inherits_from": "2d"},
        },
    }
    derived = derive_plans(plans, "VMUNet", ["2d", "2d_large"], batch_size=6)["configurations"]
    assert {name: entry["batch_size"] for name, entry in derived.items()} == {"2d": 6, "2d_large": 6, "2d_other": 12}
    with pytest.raises(ValueError, match=r"^a batch size of 0 is not possible"):
        derive_plans(plans, "VMUNet", batch_size=0)
