"""All rows of the ablation, and the curriculum on nnU-Net's own network, through nnU-Net's own entry points."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nnunetv2_mamba.plugin import trainer_names
from nnunetv2_mamba.training.safety.safe_checkpoint import EXTRAS_KEY
from tests.nnunet.conftest import DATASET, SHAPE, Workspace, both

pytestmark = pytest.mark.nnunet

FOLD = "0"
OF_THEIR_OWN = ("nnUNetTrainerVMUNet", "nnUNetTrainerS3Mamba")
"""Trainers with tests of their own."""

CONTROLS = ("nnUNetTrainerVMUNetFine_Conv", "nnUNetTrainerS3Mamba_Identity")
"""One of each kind: the others differ by what the fine and the published trainers are tested for here."""

TRAINERS = [
    name
    for name in trainer_names()
    if name not in OF_THEIR_OWN and (name in CONTROLS or not name.endswith(("_Conv", "_Identity")))
]


def commands(workspace: Workspace, trainer: str) -> list[list[str]]:
    images, output = workspace.root / "raw" / DATASET / "imagesTs", workspace.root / f"rows_{trainer}"
    model = ["-tr", trainer, "-device", "cpu"]
    where = ["-i", str(images), "-o", str(output), "-npp", "0", "-nps", "0"]
    return [
        ["nnUNetv2_train", "901", "2d", FOLD, *model],
        ["nnUNetv2_predict", *where, "-d", "901", "-c", "2d", "-f", FOLD, *model],
    ]


def run(workspace: Workspace, trainers: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("entry_points.py")],
        input=json.dumps([command for trainer in trainers for command in commands(workspace, trainer)]),
        env=workspace.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def trained(planned: Workspace) -> Workspace:
    """Every trainer that has no test of its own, trained on one fold and used for prediction."""
    both(*(lambda share=TRAINERS[i::2]: run(planned, share) for i in range(2)))
    return planned


@pytest.mark.parametrize("trainer", TRAINERS)
def test_it_trains_and_predicts(trained, trainer):
    folder = trained.model(trainer) / f"fold_{FOLD}"
    checkpoint = torch.load(folder / "checkpoint_final.pth", weights_only=False, map_location="cpu")
    assert checkpoint["trainer_name"] == trainer
    assert all(torch.isfinite(tensor).all() for tensor in checkpoint["network_weights"].values())
    with_curriculum = trainer.endswith(("_CL", "Curriculum")) or trainer.startswith("nnUNetTrainerS3Mamba_")
    extras = checkpoint["optimizer_state"].get(EXTRAS_KEY, {})
    assert ("curriculum" in extras) == (folder / "curriculum.png").exists() == with_curriculum
    predictions = sorted((trained.root / f"rows_{trainer}").glob("*.png"))
    assert [file.name for file in predictions] == ["test_0.png", "test_1.png"]
    assert {np.asarray(Image.open(file)).shape for file in predictions} == {SHAPE}
