"""What the README and the table of trainers say is run or counted here."""

import inspect
import re
from pathlib import Path

import torch

from nnunetv2_mamba import architectures, plugin
from nnunetv2_mamba.architectures.registry import NETWORKS
from nnunetv2_mamba.commands.networks import markdown_table, table_rows
from nnunetv2_mamba.plans.architecture import mamba_architecture
from nnunetv2_mamba.plugin import load_trainer

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TRAINERS = (ROOT / "docs" / "trainers.md").read_text(encoding="utf-8")


def test_the_python_example_runs():
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict = {}
    exec(example, names)
    assert tuple(names["logits"].shape) == (1, 2, 240, 200)


def test_the_table_of_networks_is_the_registry():
    assert markdown_table(table_rows([NETWORKS[name] for name in sorted(NETWORKS)])) in README


PLANNED = {
    "architecture": {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {
            "features_per_stage": [32, 64, 128, 256, 512, 512],
            "strides": [[1, 1], *[[2, 2]] * 5],
            "kernel_sizes": [[3, 3]] * 6,
            "conv_op": "torch.nn.modules.conv.Conv2d",
        },
    }
}
"""A configuration of nnU-Net's plans for patches of 128x128 and more."""


def parameters(trainer: type) -> str:
    """What the table says of a trainer's network, counted."""
    if not hasattr(trainer, "network_name"):
        return "as planned"
    network_class = getattr(architectures, trainer.network_name)
    if trainer.network_parts.get("stem") == "conv":
        arguments = mamba_architecture(PLANNED, trainer.network_name, **trainer.network_parts)["arch_kwargs"]
        with torch.device("meta"):
            network = network_class(3, 2, **{**arguments, "conv_op": torch.nn.Conv2d})
        return f"{sum(parameter.numel() for parameter in network.parameters()):,}"
    # With TCMA its masks are supervised.
    needs_heads = "side_heads" in inspect.signature(network_class).parameters and "tcma" not in trainer.network_parts
    heads = {"side_heads": True} if needs_heads else {}
    with torch.device("meta"):
        network = network_class(3, 2, **heads, **trainer.network_parts)
    return f"{sum(parameter.numel() for parameter in network.parameters()):,}"


def test_the_table_of_trainers_is_complete_and_its_numbers_are_right():
    rows = dict(re.findall(r"^\| `(nnUNetTrainer\w+)` \|.*\| ([\d,]+|as planned) \|$", TRAINERS, re.MULTILINE))
    assert sorted(rows) == plugin.trainer_names()
    for name, said in rows.items():
        assert said == parameters(load_trainer(name)), name
