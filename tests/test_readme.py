"""What the README and the table of trainers say is run or counted here."""

import inspect
import re
from pathlib import Path

import torch

from nnunetv2_mamba import architectures, plugin
from nnunetv2_mamba.architectures.registry import NETWORKS
from nnunetv2_mamba.commands.networks import markdown_table, table_rows
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


def parameters(trainer: type) -> str:
    """What the table says of a trainer's network, counted."""
    if not hasattr(trainer, "network_name"):
        return "as planned"
    network_class = getattr(architectures, trainer.network_name)
    heads = {"side_heads": True} if "side_heads" in inspect.signature(network_class).parameters else {}
    with torch.device("meta"):
        network = network_class(3, 2, **(trainer.network_parts or heads))
    return f"{sum(parameter.numel() for parameter in network.parameters()):,}"


def test_the_table_of_trainers_is_complete_and_its_numbers_are_right():
    rows = dict(re.findall(r"^\| `(nnUNetTrainer\w+)` \|.*\| ([\d,]+|as planned) \|$", TRAINERS, re.MULTILINE))
    assert sorted(rows) == plugin.trainer_names()
    for name, said in rows.items():
        assert said == parameters(load_trainer(name)), name
