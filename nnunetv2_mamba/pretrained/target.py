"""The network that a trainer would train on a dataset, built as nnU-Net builds it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from nnunetv2.paths import nnUNet_preprocessed
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_mamba.architectures._vss_unet import VSSUNet
from nnunetv2_mamba.plugin import load_trainer, trainer_names
from nnunetv2_mamba.pretrained.vmamba import WeightsError

SEED = 0
"""Seed of the tensors that no file gives, so that the same command writes the same weights."""


@dataclass(frozen=True)
class ConversionTarget:
    """The network that weights are converted for.

    Attributes:
        network: freshly initialised, on the CPU.
        image_channels: number of input channels that are images; a cascade adds masks of its first stage.
        dataset: full name of the dataset.
    """

    network: VSSUNet
    image_channels: int
    dataset: str


def build_target(trainer: str, *, dataset: str, configuration: str, plans: str) -> ConversionTarget:
    """The network of a trainer for one configuration of a preprocessed dataset.

    Args:
        trainer: name as ``-tr`` takes it.
        dataset: id or name.
        configuration: such as ``2d``.
        plans: name of the plans, without ``.json``.

    Raises:
        WeightsError: the trainer, dataset, plans or configuration does not exist, or VMamba has no weights for the
            network.
    """
    try:
        trainer_class = _trainer_class(trainer)
        # nnU-Net returns a numpy string, which torch.load refuses with weights_only=True.
        name = str(maybe_convert_to_dataset_name(dataset))
        folder = Path(nnUNet_preprocessed.require(), name)
        plans_manager = PlansManager(_json(folder / f"{plans}.json"))
        dataset_json = _json(folder / "dataset.json")
        configuration_manager = plans_manager.get_configuration(configuration)
        channels = determine_num_input_channels(plans_manager, configuration_manager, dataset_json)
        heads = plans_manager.get_label_manager(dataset_json).num_segmentation_heads
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            network = trainer_class.build_network_architecture(
                plans_manager, configuration_manager, channels, heads, enable_deep_supervision=False
            )
    except (RuntimeError, ValueError) as error:
        raise WeightsError(str(error)) from error
    if "VMamba" not in getattr(network, "published_weights", frozenset()):
        raise WeightsError(
            f"{trainer} with {plans} trains a {type(network).__name__}, for which VMamba has no weights: "
            f"give a trainer of VM-UNet or its relatives, or plans that name one of them."
        )
    images = len(dataset_json["modality" if "modality" in dataset_json else "channel_names"])
    return ConversionTarget(network, images, name)


def _trainer_class(name: str) -> type[nnUNetTrainer]:
    # nnU-Net's search imports each of its own trainers first, and it may not search the trainers of this package.
    if name in trainer_names():
        return load_trainer(name)
    return recursive_find_trainer_class_by_name(name)


def _json(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise WeightsError(f"{file} does not exist: run nnUNetv2_plan_and_preprocess for the dataset first.")
    return json.loads(file.read_text())
