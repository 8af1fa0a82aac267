"""What our trainers change of the stock trainer, on real trainers with tiny networks."""

import inspect
from typing import ClassVar

import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunetv2_mamba.architectures import S3Mamba, SAUMamba, SegMamba, VMUNet
from nnunetv2_mamba.trainers.nnUNetTrainerSAUMamba import nnUNetTrainerSAUMamba
from nnunetv2_mamba.trainers.nnUNetTrainerSegMamba import nnUNetTrainerSegMamba
from nnunetv2_mamba.trainers.nnUNetTrainerVMUNet import nnUNetTrainerVMUNet
from nnunetv2_mamba.trainers.nnUNetTrainerVMUNet_EnCF_TCMA import nnUNetTrainerVMUNet_EnCF_TCMA
from nnunetv2_mamba.training.trainer import CUDA, MambaTrainer
from tests.training.batches import batch_for

SMALL = {"features_per_stage": (8, 16), "d_state": 2}


class SmallVMUNetTrainer(nnUNetTrainerVMUNet):
    network_overrides: ClassVar = SMALL


class SmallS3MambaTrainer(nnUNetTrainerVMUNet_EnCF_TCMA):
    network_overrides: ClassVar = {**SMALL, "reduction": 4}


class SmallSAUMambaTrainer(nnUNetTrainerSAUMamba):
    network_overrides: ClassVar = SMALL


class SmallSegMambaTrainer(nnUNetTrainerSegMamba):
    network_overrides: ClassVar = {"features_per_stage": (4, 8, 8)}


@pytest.mark.parametrize("trainer_class", [nnUNetTrainerVMUNet, nnUNetTrainerVMUNet_EnCF_TCMA, nnUNetTrainerSegMamba])
def test_constructor_keeps_the_stock_signature(trainer_class):
    stock, ours = (inspect.signature(c.__init__).parameters for c in (nnUNetTrainer, trainer_class))
    assert list(ours) == list(stock)
    assert ours["device"].default == stock["device"].default
    assert "__init__" not in vars(trainer_class)


@pytest.mark.parametrize(
    ("trainer_class", "network"),
    [
        (SmallVMUNetTrainer, VMUNet),
        (SmallS3MambaTrainer, S3Mamba),
        (SmallSAUMambaTrainer, SAUMamba),
        (SmallSegMambaTrainer, SegMamba),
    ],
    ids=["vmunet", "s3mamba", "saumamba", "segmamba"],
)
def test_trains_its_network_with_adamw_and_a_full_length_cosine(make_trainer, trainer_class, network):
    trainer = make_trainer(trainer_class)
    trainer.initialize()
    assert type(trainer.network) is network
    assert isinstance(trainer.optimizer, torch.optim.AdamW)
    assert trainer.optimizer.param_groups[0]["weight_decay"] == MambaTrainer.weight_decay
    assert trainer.lr_scheduler.num_epochs == trainer.num_epochs == 1000
    assert trainer.my_init_kwargs["configuration"] == "toy"

    before = [parameter.clone() for parameter in trainer.network.parameters()]
    trainer.on_train_epoch_start()
    assert 0 < trainer.optimizer.param_groups[0]["lr"] < trainer.initial_lr == trainer_class.initial_lr
    losses = [float(trainer.train_step(batch_for(trainer))["loss"]) for _ in range(2)]
    assert all(torch.isfinite(torch.tensor(losses)))
    moved = [not torch.equal(p, b) for p, b in zip(trainer.network.parameters(), before, strict=True)]
    assert sum(moved) > 0.9 * len(moved)


def test_a_user_subclass_can_set_hyperparameters_both_ways(make_trainer):
    class ByAttribute(SmallVMUNetTrainer):
        initial_lr = 3e-3

    class InConstructor(SmallVMUNetTrainer):
        def __init__(self, plans, configuration, fold, dataset_json, device=CUDA):
            super().__init__(plans, configuration, fold, dataset_json, device)
            self.initial_lr = 3e-3
            self.num_epochs = 7

    for trainer_class in (ByAttribute, InConstructor):
        trainer = make_trainer(trainer_class)
        trainer.initialize()
        trainer.lr_scheduler.step(trainer.lr_scheduler.warmup_epochs)
        assert trainer.optimizer.param_groups[0]["lr"] == 3e-3
    assert trainer.lr_scheduler.num_epochs == 7


def test_variables_shorten_the_training_and_its_schedule(make_trainer, monkeypatch):
    for variable, value in (("EPOCHS", "4"), ("ITERATIONS", "3"), ("VAL_ITERATIONS", "2")):
        monkeypatch.setenv(f"NNUNETV2_MAMBA_{variable}", value)
    trainer = make_trainer(SmallVMUNetTrainer)
    trainer.initialize()
    assert (trainer.num_epochs, trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch) == (4, 3, 2)
    assert trainer.lr_scheduler.num_epochs == 4


@pytest.mark.parametrize("step", ["train_step", "validation_step"])
def test_a_bad_case_is_named_before_it_touches_the_weights(make_trainer, step):
    trainer = make_trainer(SmallVMUNetTrainer)
    trainer.initialize()
    before = [parameter.clone() for parameter in trainer.network.parameters()]
    batch = batch_for(trainer)
    batch["data"][1, 0, 3, 4] = float("nan")
    with pytest.raises(ValueError, match="images of case_b hold NaN"):
        getattr(trainer, step)(batch)
    assert all(torch.equal(p, b) for p, b in zip(trainer.network.parameters(), before, strict=True))


def s3mamba_plan() -> dict:
    return {
        "network_class_name": "nnunetv2_mamba.architectures.S3Mamba",
        "arch_kwargs": {
            "features_per_stage": [8, 24],
            "strides": [[1, 1], [2, 2], [2, 2]],
            "n_blocks_per_stage": [1, 1],
            "n_blocks_per_stage_decoder": [1, 1],
            "conv_op": "torch.nn.modules.conv.Conv2d",
            "d_state": 1,
            "reduction": 4,
        },
        "_kw_requires_import": ["conv_op"],
    }


def test_a_plan_that_names_our_network_is_used_as_it_is(make_trainer):
    trainer = make_trainer(SmallS3MambaTrainer)
    trainer.configuration_manager.configuration["architecture"] = s3mamba_plan()
    trainer.initialize()
    assert type(trainer.network) is S3Mamba
    assert trainer.network.encoder.output_channels == [8, 24]
    assert trainer._get_deep_supervision_scales() == [[1, 1], [0.5, 0.5]]
    assert torch.isfinite(torch.as_tensor(trainer.train_step(batch_for(trainer))["loss"]))


def checkpointed_levels(network: torch.nn.Module) -> list[bool]:
    return [layer.blocks.checkpointed for layer in network.encoder.layers]


def test_the_variable_for_checkpointed_stages_goes_before_class_and_plan(make_trainer, monkeypatch):
    class Lean(SmallVMUNetTrainer):
        network_overrides: ClassVar = {**SMALL, "checkpointed_stages": [0]}

    planned = make_trainer(SmallS3MambaTrainer)
    planned.configuration_manager.configuration["architecture"] = s3mamba_plan()
    trainers = [make_trainer(Lean), planned]
    for trainer in trainers:
        trainer.initialize()
    assert [checkpointed_levels(trainer.network) for trainer in trainers] == [[True, False], [False, False]]

    monkeypatch.setenv("NNUNETV2_MAMBA_CHECKPOINTED_STAGES", "1")
    for trainer in trainers:
        trainer.was_initialized = False
        trainer.initialize()
        assert checkpointed_levels(trainer.network) == [False, True]
        assert torch.isfinite(torch.as_tensor(trainer.train_step(batch_for(trainer))["loss"]))
    assert planned.configuration_manager.configuration["architecture"] == s3mamba_plan()

    monkeypatch.setenv("NNUNETV2_MAMBA_CHECKPOINTED_STAGES", "2")
    with pytest.raises(ValueError, match=r"^checkpointed_stages names 2; the network has the stages 0, the finest"):
        planned.build_network_architecture(planned.plans_manager, planned.configuration_manager, 1, 2)


def test_a_plan_of_another_network_of_ours_is_refused_in_training_and_prediction(make_trainer):
    trainer = make_trainer(SmallVMUNetTrainer)
    trainer.configuration_manager.configuration["architecture"] = s3mamba_plan()
    refusal = r"^the plans name S3Mamba already, and VMUNet cannot be derived from it: .*or ask for S3Mamba\.$"
    with pytest.raises(ValueError, match=refusal):
        trainer.initialize()
    with pytest.raises(ValueError, match=refusal):
        SmallVMUNetTrainer.build_network_architecture(
            trainer.plans_manager, trainer.configuration_manager, 1, 2, enable_deep_supervision=False
        )


@pytest.mark.parametrize("trainer_class", [SmallVMUNetTrainer, SmallS3MambaTrainer, SmallSegMambaTrainer])
def test_without_deep_supervision_a_step_reaches_every_parameter(make_trainer, trainer_class):
    class NoDeepSupervision(trainer_class):
        def __init__(self, plans, configuration, fold, dataset_json, device=CUDA):
            super().__init__(plans, configuration, fold, dataset_json, device)
            self.enable_deep_supervision = False

    trainer = make_trainer(NoDeepSupervision)
    trainer.initialize()
    assert torch.isfinite(torch.as_tensor(trainer.train_step(batch_for(trainer))["loss"]))
    assert not [name for name, parameter in trainer.network.named_parameters() if parameter.grad is None]
    supervised = make_trainer(trainer_class)
    supervised.initialize()
    supervised.network.load_state_dict(trainer.network.state_dict())


def test_prediction_builds_the_same_weights_without_deep_supervision(make_trainer):
    trainer = make_trainer(SmallS3MambaTrainer)
    trainer.initialize()
    network = type(trainer).build_network_architecture(
        trainer.plans_manager, trainer.configuration_manager, 1, 2, enable_deep_supervision=False
    )
    network.load_state_dict(trainer.network.state_dict())
    assert network.eval()(torch.rand(1, 1, 16, 16)).shape == (1, 2, 16, 16)
