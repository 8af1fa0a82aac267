"""The rows of the paper's ablation: what each trainer's name promises is what it trains."""

from typing import ClassVar

import pytest
import torch
from torch import nn

from nnunetv2_mamba.building_blocks.enhanced_channel_feature import EnCFBlock
from nnunetv2_mamba.building_blocks.gated_mixer import GatedConvolution, GatedIdentity, GatedMixer
from nnunetv2_mamba.building_blocks.tcma import TCMA
from nnunetv2_mamba.plugin import load_trainer, trainer_names
from nnunetv2_mamba.training.curriculum import CurriculumMixin

BASELINE, FULL = "nnUNetTrainerVMUNet", "nnUNetTrainerS3Mamba"
PARTS = ("EnCF", "TCMA", "CL")
ROWS = {
    frozenset(): BASELINE,
    **{
        frozenset(parts): "_".join((BASELINE, *parts))
        for parts in (("EnCF",), ("TCMA",), ("CL",), ("EnCF", "TCMA"), ("EnCF", "CL"), ("TCMA", "CL"))
    },
    frozenset(PARTS): FULL,
}
FINE = {
    "nnUNetTrainerVMUNetFine": set(),
    "nnUNetTrainerVMUNetFine_CL": {"CL"},
    "nnUNetTrainerS3MambaFine": {"EnCF", "TCMA"},
    "nnUNetTrainerS3MambaFine_CL": {"EnCF", "TCMA", "CL"},
}
"""Trainers whose networks have a convolutional stem, and the parts of S3-Mamba that they have."""
CONTROLLED = (BASELINE, FULL, "nnUNetTrainerVMUNetFine", "nnUNetTrainerS3MambaFine", "nnUNetTrainerSAUMamba")
CONTROLS = {
    f"{name}_{suffix}": (name, mixer)
    for name in CONTROLLED
    for suffix, mixer in {"Identity": GatedIdentity, "Conv": GatedConvolution}.items()
}
"""Trainers whose networks have something else in the place of the scans, what they are controls of, and their mixer."""
OTHERS = {"nnUNetTrainerCurriculum", "nnUNetTrainerSAUMamba", "nnUNetTrainerSegMamba"}
SMALL = {"features_per_stage": (8, 16), "d_state": 2}


def small(name: str) -> type:
    base = load_trainer(name)
    reduction = {"reduction": 4} if base.network_name == "S3Mamba" else {}
    widths = {"features_per_stage": (4, 6, 8, 16)} if "Fine" in name else {}
    return type(name, (base,), {"network_overrides": {**SMALL, **reduction, **widths}})


def test_every_row_has_its_trainer_and_there_are_no_others():
    assert set(ROWS.values()) | FINE.keys() | CONTROLS.keys() | OTHERS == set(trainer_names())


NAMES_AND_PARTS = [*((name, parts) for parts, name in ROWS.items()), *FINE.items()]


@pytest.mark.parametrize(("name", "parts"), NAMES_AND_PARTS, ids=[name for name, _ in NAMES_AND_PARTS])
def test_a_name_promises_the_parts_that_are_trained(make_trainer, name, parts):
    trainer = make_trainer(small(name))
    trainer.initialize()
    assert (trainer.network.encoder.stem is not None) == (name in FINE)
    modules = list(trainer.network.modules())
    assert any(isinstance(module, EnCFBlock) for module in modules) == ("EnCF" in parts)
    assert any(isinstance(module, TCMA) for module in modules) == ("TCMA" in parts)
    assert isinstance(trainer, CurriculumMixin) == ("CL" in parts)
    depthwise = [name for name, _ in trainer.network.named_parameters() if "conv2d" in name]
    assert bool(depthwise) == ("EnCF" not in parts)
    # All rows are supervised at the same resolutions; patches leave out one of them.
    assert len(trainer._get_deep_supervision_scales()) == (3 if name in FINE else 2)
    assert trainer.enable_deep_supervision


@pytest.mark.parametrize(("name", "controlled"), CONTROLS.items(), ids=CONTROLS)
def test_a_control_differs_by_its_mixers_only(make_trainer, name, controlled):
    original, mixer = controlled
    networks = {}
    for which in (original, name):
        trainer = make_trainer(small(which))
        trainer.initialize()
        networks[which] = trainer.network
    mixers = {which: _mixers(network) for which, network in networks.items()}
    assert {type(found) for found in mixers[name].values()} == {mixer}
    assert mixers[name].keys() == mixers[original].keys()
    assert _outside(networks[name], mixers[name]) == _outside(networks[original], mixers[original])
    assert issubclass(load_trainer(name), load_trainer(original))


def _mixers(network: nn.Module) -> dict[str, GatedMixer]:
    return {name: module for name, module in network.named_modules() if isinstance(module, GatedMixer)}


def _outside(network: nn.Module, mixers: dict[str, GatedMixer]) -> dict[str, torch.Size]:
    """Shapes of the parameters that belong to no mixer."""
    shapes = {name: parameter.shape for name, parameter in network.named_parameters()}
    return {name: shape for name, shape in shapes.items() if not name.startswith(tuple(mixers))}


@pytest.mark.parametrize(
    ("name", "planned", "message"),
    [
        ("nnUNetTrainerVMUNet_EnCF", {}, "S3Mamba with tcma = True and nnUNetTrainerVMUNet_EnCF stands for False"),
        (FULL, {"tcma": False, "side_heads": True}, "S3Mamba with tcma = False and nnUNetTrainerS3Mamba stands for"),
        ("nnUNetTrainerVMUNet_TCMA", {"depthwise_conv": True}, "with channel_attention = True and"),
    ],
)
def test_plans_that_contradict_a_name_are_refused(make_trainer, name, planned, message):
    trainer = make_trainer(small(name))
    plan = trainer.configuration_manager.configuration
    derived = type(trainer)._architecture(trainer.configuration_manager)
    parts = ("tcma", "channel_attention", "depthwise_conv", "side_heads")
    kept = {key: value for key, value in derived["arch_kwargs"].items() if key not in parts}
    plan["architecture"] = {**derived, "arch_kwargs": {**kept, **planned}}
    with pytest.raises(ValueError, match=message):
        trainer.initialize()


def test_a_subclass_may_change_everything_else(make_trainer):
    class Wide(small(FULL)):
        network_overrides: ClassVar = {"features_per_stage": (16, 24), "d_state": 1, "reduction": 8}

    trainer = make_trainer(Wide)
    trainer.initialize()
    assert trainer.network.encoder.output_channels == [16, 24]
