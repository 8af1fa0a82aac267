"""The recipes of CONTRIBUTING.md and the trainers of docs/small-lesions.md work as they are printed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from nnunetv2_mamba.evaluation import metrics

ROOT = Path(__file__).parents[2]
BLOCKS = [
    block
    for page in ("CONTRIBUTING.md", "docs/small-lesions.md")
    for block in re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
]

NETWORK = """
import sys, torch
sys.path.insert(0, sys.argv[1])
import latemamba  # what the line in architectures/__init__.py does
from nnUNetTrainerLateMamba import nnUNetTrainerLateMamba
from nnunetv2_mamba.architectures.registry import find_network
from nnunetv2_mamba.plans.architecture import mamba_architecture
arguments = {"n_stages": 3, "features_per_stage": [8, 12, 16], "strides": [[1, 1], [2, 2], [2, 2]],
             "kernel_sizes": [[3, 3]] * 3, "conv_op": "torch.nn.modules.conv.Conv2d"}
plan = {"architecture": {"network_class_name": "dynamic_network_architectures.x", "arch_kwargs": arguments}}
planned = mamba_architecture(plan, nnUNetTrainerLateMamba.network_name)["arch_kwargs"]
network = find_network("LateMamba")(1, 2, **{**planned, "conv_op": torch.nn.Conv2d})
assert network(torch.zeros(1, 1, 20, 24)).shape == (1, 2, 20, 24)
"""

TRAINERS = """
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name as find
for name in ("nnUNetTrainerTversky", "nnUNetTrainerMoreForeground"):
    assert issubclass(find(name), nnUNetTrainer)
loss = find("nnUNetTrainerTversky")._build_loss.__globals__["TverskyLoss"]()
target = torch.tensor([[[[0, 1], [1, 0]]]])
right = torch.nn.functional.one_hot(target[:, 0]).movedim(-1, 1) * 100.0
assert loss(right, target).item() < 1e-6 < 0.5 < loss(-right, target).item()
"""


FOR_LESIONS = """
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name as find
from nnunetv2_mamba.training import BiCC
assert find("nnUNetTrainerBiCC").instance_term == BiCC(alpha=0.25)
assert find("nnUNetTrainerLesions").lesion_size_exponent == 0
"""


def block_with(text: str) -> str:
    (block,) = [block for block in BLOCKS if text in block]
    return block


def run(code: str, *arguments: str, **variables: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_network_and_its_trainer(tmp_path):
    (tmp_path / "latemamba.py").write_text(block_with("class LateMamba("))
    (tmp_path / "nnUNetTrainerLateMamba.py").write_text(block_with("class nnUNetTrainerLateMamba("))
    run(NETWORK, str(tmp_path))


def test_the_metric():
    metric = eval(f"({block_with('missed_share')})[0]", vars(metrics))
    assert metric.formula({"missed_volume": 1.0, "reference_volume": 4.0}, None) == 0.25
    assert metric.empty.keys() == metrics.METRICS["DSC"].empty.keys()
    assert metric.name not in metrics.METRICS


@pytest.mark.nnunet
def test_the_trainers_from_outside(tmp_path):
    for name in ("nnUNetTrainerTversky", "nnUNetTrainerMoreForeground"):
        (tmp_path / f"{name}.py").write_text(block_with(f"class {name}("))
    run(TRAINERS, nnUNet_extTrainer=str(tmp_path))


@pytest.mark.nnunet
def test_the_trainers_for_small_lesions(tmp_path):
    for name in ("nnUNetTrainerBiCC", "nnUNetTrainerLesions"):
        (tmp_path / f"{name}.py").write_text(block_with(f"class {name}("))
    run(FOR_LESIONS, nnUNet_extTrainer=str(tmp_path))
