"""Networks, plans and trainers that are compared: nnU-Net plans, and every trainer starts as in a training."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.experiment_planning.experiment_planners.residual_unets.residual_encoder_unet_planners import (
    ResEncUNetPlanner,
)
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import nn

from nnunetv2_mamba.plugin import load_trainer, trainer_names
from nnunetv2_mamba.training.trainer import MambaTrainer

DATASET = "Dataset001_Benchmark"
CASES = ("case_a", "case_b")
PLAIN, RESIDUAL = "PlainConvUNet", "ResidualEncoderUNet"
S3MAMBA, SAUMAMBA, SEGMAMBA = "nnUNetTrainerS3Mamba", "nnUNetTrainerSAUMamba", "nnUNetTrainerSegMamba"
VMUNET = "nnUNetTrainerVMUNet"
CONTROLS = ("_Identity", "_Conv")
"""How trainers end that have something else in the place of the scans; nobody wants them for their speed."""
S3MAMBA_FINE, VMUNET_FINE = "nnUNetTrainerS3MambaFine", "nnUNetTrainerVMUNetFine"


@dataclass(frozen=True)
class Setting:
    """What there is to plan for.

    Attributes:
        name: of nnU-Net's configuration.
        shape: median size of an image, from which the patch size follows.
        channels: of the image.
        classes: of the logits.
        cases: of the dataset that is planned for: the planner gives a small one the smallest batch, two samples, and a
            large one what 8 GB hold.
    """

    name: str
    shape: tuple[int, ...]
    channels: int = 1
    classes: int = 2
    cases: int = 2

    @property
    def identifier(self) -> str:
        """Folder of the preprocessed data."""
        return f"nnUNetPlans_{self.name}"

    @property
    def dataset_json(self) -> dict[str, Any]:
        """The dataset's description."""
        labels = {"background": 0, **{f"label{label}": label for label in range(1, self.classes)}}
        channels = {str(channel): "noNorm" for channel in range(self.channels)}
        return {"channel_names": channels, "labels": labels, "numTraining": 2, "file_ending": ".nii.gz", "dataset": {}}


SETTINGS = {
    "2d": Setting("2d", (256, 256), channels=3),
    "3d": Setting("3d_fullres", (36, 50, 35), classes=3),
}
"""Colour images of 256x256; the hippocampus of the Medical Segmentation Decathlon, patches of 40x56x40."""


@contextmanager
def workspace(setting: Setting) -> Iterator[Path]:
    """nnU-Net's folders with a dataset of two cases, in which its planners and trainers work."""
    with TemporaryDirectory() as name:
        root = Path(name)
        folders = {f"nnUNet_{folder}": str(root / folder) for folder in ("raw", "preprocessed", "results")}
        # No worker processes; what is not measured ends soon.
        variables = {**folders, "nnUNet_n_proc_DA": "0", "nnUNet_compile": os.environ.get("nnUNet_compile", "f")}
        raw, preprocessed = root / "raw" / DATASET, root / "preprocessed" / DATASET
        raw.mkdir(parents=True)
        (preprocessed / setting.identifier).mkdir(parents=True)
        (raw / "dataset.json").write_text(json.dumps(setting.dataset_json))
        (preprocessed / "dataset.json").write_text(json.dumps(setting.dataset_json))
        fingerprint = {"median_relative_size_after_cropping": 1.0}
        (preprocessed / "dataset_fingerprint.json").write_text(json.dumps(fingerprint))
        for case in CASES:
            _save_case(preprocessed / setting.identifier / case, setting)
        with patch.dict(os.environ, variables), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            yield root


def _save_case(path: Path, setting: Setting) -> None:
    shape = setting.shape if len(setting.shape) == 3 else (1, *setting.shape)
    image = np.random.default_rng(0).normal(size=(setting.channels, *shape)).astype(np.float32)
    segmentation = (np.clip(image[:1], 0, None).astype(np.int8)) % setting.classes
    locations = {label: np.argwhere(segmentation == label) for label in range(1, setting.classes)}
    chunks = {"chunks": image.shape, "blocks": image.shape, "chunks_seg": (1, *shape), "blocks_seg": (1, *shape)}
    nnUNetDatasetBlosc2.save_case(image, segmentation, {"class_locations": locations}, str(path), **chunks)


def planned(setting: Setting, planner_class: type[ExperimentPlanner] = ExperimentPlanner) -> dict[str, Any]:
    """What a planner of nnU-Net's makes of a setting, in a `workspace`: plans with one configuration."""
    planner = planner_class(DATASET)
    spacing = np.ones(len(setting.shape))
    voxels = float(setting.cases * np.prod(setting.shape))
    with patch.dict(os.environ, {"nnUNet_n_proc_DA": "1"}):  # its number of threads while it estimates memory
        configuration = planner.get_plans_for_configuration(
            spacing, np.array(setting.shape), setting.identifier, voxels, {}
        )
    plain = json.loads(json.dumps({**configuration, "batch_dice": True}, default=_plain))
    return {
        "dataset_name": DATASET,
        "plans_name": planner.plans_identifier,
        "label_manager": "LabelManager",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": list(range(3)),
        "transpose_backward": list(range(3)),
        "continue_training": False,
        "configurations": {setting.name: plain},
    }


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


def trainer_classes() -> dict[str, tuple[type[nnUNetTrainer], type[ExperimentPlanner]]]:
    """Every trainer but the controls, nnU-Net's own first under the names of their networks, and its planner."""
    stock = {PLAIN: (nnUNetTrainer, ExperimentPlanner), RESIDUAL: (nnUNetTrainer, ResEncUNetPlanner)}
    named = {name: load_trainer(name) for name in trainer_names() if not name.endswith(CONTROLS)}
    return stock | {name: (trainer, ExperimentPlanner) for name, trainer in named.items()}


def network_of(name: str) -> str:
    """What tells networks of trainers apart; equal for those that train the same."""
    trainer = trainer_classes()[name][0]
    if issubclass(trainer, MambaTrainer):
        return f"{trainer.network_name} {json.dumps(dict(trainer.network_parts), sort_keys=True)}"
    return RESIDUAL if name == RESIDUAL else PLAIN


def one_of_each_network() -> list[str]:
    """Trainers of which no two have the same network; S3-Mamba is called by its own name."""
    names: dict[str, str] = {}
    for name in (PLAIN, RESIDUAL, S3MAMBA, *trainer_classes()):
        names.setdefault(network_of(name), name)
    return list(names.values())


def make_trainer(name: str, setting: Setting, device: str) -> nnUNetTrainer:
    """A trainer, in a `workspace`, that has not built its network yet."""
    trainer_class, planner_class = trainer_classes()[name]
    torch.manual_seed(0)
    return trainer_class(
        planned(setting, planner_class), setting.name, "all", setting.dataset_json, torch.device(device)
    )


def make_network(name: str, setting: Setting, deep_supervision: bool, device: str) -> nn.Module:
    """The network of a trainer as its training or, without deep supervision, its prediction builds it."""
    trainer = make_trainer(name, setting, device)
    network = trainer.build_network_architecture(
        trainer.plans_manager, trainer.configuration_manager, setting.channels, setting.classes, deep_supervision
    )
    return network.to(device)
