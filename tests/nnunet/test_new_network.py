"""A network and its trainer from outside are taken by every command and every sweep, with no other edit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.nnunet.conftest import CommandError, Workspace

pytestmark = pytest.mark.nnunet

ROOT = Path(__file__).parents[2]

NETWORK = '''
"""A residual U-Net with a Mamba layer at its coarsest stages only."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from nnunetv2_mamba.architectures import SegMamba
from nnunetv2_mamba.architectures._contract import (
    PerAxis, PerStage, UShapedNetwork, blocks_per_stage, check_stages, kernels_per_axis, strides_per_axis
)
from nnunetv2_mamba.architectures.publication import Publication
from nnunetv2_mamba.architectures.registry import register
from nnunetv2_mamba.building_blocks.conv_decoder import ConvDecoder
from nnunetv2_mamba.building_blocks.conv_encoder import ConvEncoder, IdentityLayer
from nnunetv2_mamba.building_blocks.layout import spatial_dims
from nnunetv2_mamba.building_blocks.mamba import MambaLayer


@register
class ToyNetwork(UShapedNetwork):
    publication: ClassVar = Publication("A toy", "nowhere")

    @classmethod
    def from_plan(cls, configuration: Mapping[str, Any], **overrides: Any) -> dict[str, Any]:
        return SegMamba.from_plan(configuration, **{"mamba_from": 1} | overrides)

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        features_per_stage: Sequence[int] = (8, 16, 16),
        strides: Sequence[PerAxis] = (1, 2, 2),
        n_blocks_per_stage: PerStage = 1,
        n_blocks_per_stage_decoder: PerStage = 1,
        conv_op: type[nn.Module] = nn.Conv2d,
        kernel_sizes: int | Sequence[PerAxis] = 3,
        mamba_from: int = 1,
        deep_supervision: bool = False,
        checkpointed_stages: Sequence[int] = (),
    ) -> None:
        super().__init__(input_channels)
        n_stages, ndim = len(features_per_stage), spatial_dims(conv_op)
        check_stages(checkpointed_stages, n_stages)
        self.encoder = ConvEncoder(
            input_channels,
            features_per_stage,
            strides=strides_per_axis(strides, n_stages, ndim, patch_embedding=False),
            kernel_sizes=kernels_per_axis(kernel_sizes, n_stages, ndim),
            n_blocks_per_stage=blocks_per_stage(n_blocks_per_stage, n_stages, "n_blocks_per_stage"),
            conv_op=conv_op,
            make_layer=lambda level, width: MambaLayer(width) if level >= mamba_from else IdentityLayer(width),
            checkpointed_stages=checkpointed_stages,
        )
        decoder_blocks = []
        if n_stages > 1:
            decoder_blocks = blocks_per_stage(n_blocks_per_stage_decoder, n_stages - 1, "n_blocks_per_stage_decoder")
        self.decoder = ConvDecoder(
            self.encoder,
            num_classes,
            decoder_blocks,
            deep_supervision=deep_supervision,
            checkpointed_stages=checkpointed_stages,
        )

    def decode(self, image: Tensor) -> list[Tensor]:
        return self.decoder(self.encoder(image))
'''

TRAINER = '''
"""nnU-Net trainer of the toy; select it with ``-tr nnUNetTrainerToyNetwork``."""

import toy_networks
from nnunetv2_mamba.training import MambaTrainer


class nnUNetTrainerToyNetwork(MambaTrainer):
    network_name = "ToyNetwork"
'''

NAME, TRAINER_NAME = "toy_networks.ToyNetwork", "nnUNetTrainerToyNetwork"


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> dict[str, str]:
    """Environment of a user who has a network and a trainer of his own."""
    folder = tmp_path_factory.mktemp("theirs")
    (folder / "trainers").mkdir()
    (folder / "toy_networks.py").write_text(NETWORK)
    (folder / "trainers" / f"{TRAINER_NAME}.py").write_text(TRAINER)
    return {"PYTHONPATH": str(folder), "nnUNet_extTrainer": str(folder / "trainers")}


@pytest.fixture(scope="module")
def trained(planned: Workspace, toy) -> Workspace:
    planned.train(TRAINER_NAME, 0, **toy)
    return planned


def test_its_trainer_trains_and_predicts_through_stock_commands(trained, toy):
    folder = trained.model(TRAINER_NAME) / "fold_0"
    checkpoint = torch.load(folder / "checkpoint_final.pth", weights_only=False)
    layers = {key.split(".")[2] for key in checkpoint["network_weights"] if key.startswith("encoder.layers.")}
    stages = {key.split(".")[2] for key in checkpoint["network_weights"] if key.startswith("encoder.stages.")}
    assert stages - layers == {"0"}, "only the finest stage has no Mamba layer"
    predictions = trained.predict(TRAINER_NAME, [0], "predicted_toy", **toy)
    assert {np.asarray(Image.open(file)).shape for file in predictions.glob("*.png")} == {(48, 40)}


@pytest.fixture(scope="module")
def plans(planned: Workspace, toy) -> str:
    """Name of plans that carry the network, for nnU-Net's own trainer."""
    planned.run("nnUNetv2_mamba", "plan", "-d", 901, "--network", NAME, **toy)
    return "nnUNetPlans_ToyNetwork"


def test_plans_carry_it(planned, plans, toy):
    entry = json.loads((planned.preprocessed / f"{plans}.json").read_text())["configurations"]["2d"]["architecture"]
    assert entry["network_class_name"] == NAME
    network = planned.run("nnUNetv2_mamba", "networks", NAME, "-d", 901, "-p", plans, **toy)
    assert "ToyNetwork" in network


def test_plans_of_one_network_are_listed_with_that_one(planned, plans, toy):
    lines = planned.run("nnUNetv2_mamba", "networks", "-d", 901, "-p", plans, **toy).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["ToyNetwork"]
    with pytest.raises(CommandError, match="name ToyNetwork already, and VMUNet cannot be derived from it"):
        planned.run("nnUNetv2_mamba", "networks", "VMUNet", "-d", 901, "-p", plans, **toy)


def test_inspect_and_doctor_and_the_list_of_networks_know_it(planned, plans, toy, tmp_path):
    said = planned.run("nnUNetv2_mamba", "inspect", "-d", 901, "-c", "2d", "-p", plans, "-o", tmp_path, "-np", 1, **toy)
    assert "ToyNetwork" in said
    by_trainer = ("inspect", "-d", 901, "-c", "2d", "-tr", TRAINER_NAME, "-o", tmp_path / "trainer", "-np", 1)
    assert "ToyNetwork" in planned.run("nnUNetv2_mamba", *by_trainer, **toy)
    listed = planned.run("nnUNetv2_mamba", "networks", NAME, **toy)
    assert f"{TRAINER_NAME}  2D and 3D" in listed
    assert "A toy, nowhere; no published code" in listed
    planned.run("nnUNetv2_mamba", "doctor", **toy)


def test_every_sweep_over_the_registry_takes_it(toy):
    sweeps = ["test_networks.py", "test_anisotropic.py", "test_checkpointing.py", "test_bad_input.py"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "toy_networks", "-k", "ToyNetwork"]
    done = subprocess.run(
        [*command, *(f"tests/architectures/{name}" for name in sweeps)],
        env=os.environ | toy,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert int(done.stdout.rpartition(" passed")[0].split()[-1]) > 30
