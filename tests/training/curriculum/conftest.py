"""A toy dataset as nnU-Net leaves it preprocessed, and trainers on it that run in this process."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunetv2_mamba.training.curriculum.lesion_sizes import LabelCounts

DATASET = "Dataset997_Blobs"
SHAPE = (1, 24, 24)
PATCH = (16, 16)
RADII = {"tiny": 1, "small": 2, "middle": 4, "large": 6, "empty": 0, "validation": 3}
LABELS = {"background": 0, "blob": 1}


def blob(radius: int) -> np.ndarray:
    """A square blob of 2 * radius pixels a side in the middle (1, *SHAPE)."""
    segmentation = np.zeros((1, *SHAPE), np.int8)
    if radius:
        segmentation[..., 12 - radius : 12 + radius, 12 - radius : 12 + radius] = 1
    return segmentation


def save_case(folder: Path, name: str, segmentation: np.ndarray, further_locations: dict | None = None) -> None:
    """Write a case like nnU-Net's preprocessing does."""
    image = np.random.default_rng(len(name)).normal(size=segmentation.shape).astype(np.float32) + segmentation
    locations = {label: np.argwhere(segmentation == label) for label in LABELS.values() if label}
    locations |= further_locations or {}
    chunks = {name: segmentation.shape for name in ("chunks", "blocks", "chunks_seg", "blocks_seg")}
    nnUNetDatasetBlosc2.save_case(image, segmentation, {"class_locations": locations}, str(folder / name), **chunks)


def plans(batch_dice: bool) -> dict:
    return {
        "dataset_name": DATASET,
        "plans_name": "nnUNetPlans",
        "label_manager": "LabelManager",
        "configurations": {
            "2d": {
                "data_identifier": "nnUNetPlans_2d",
                "batch_size": 3,
                "batch_dice": batch_dice,
                "patch_size": list(PATCH),
                "spacing": [1.0, 1.0],
                "use_mask_for_norm": [False],
                "architecture": {
                    "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
                    "arch_kwargs": {
                        "n_stages": 4,
                        "features_per_stage": [4, 8, 8, 8],
                        "conv_op": "torch.nn.modules.conv.Conv2d",
                        "kernel_sizes": [[3, 3]] * 4,
                        "strides": [[1, 1], [2, 2], [2, 2], [2, 2]],
                        "n_conv_per_stage": [1, 1, 1, 1],
                        "n_conv_per_stage_decoder": [1, 1, 1],
                        "conv_bias": True,
                        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm2d",
                        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
                        "nonlin": "torch.nn.LeakyReLU",
                        "nonlin_kwargs": {"inplace": True},
                    },
                    "_kw_requires_import": ["conv_op", "norm_op", "nonlin"],
                },
            }
        },
    }


@dataclass(frozen=True)
class Preprocessed:
    """The dataset's folder of nnUNet_preprocessed.

    Attributes:
        folder: with dataset.json and the split.
    """

    folder: Path

    @property
    def data(self) -> Path:
        """Where the cases are."""
        return self.folder / "nnUNetPlans_2d"

    def counts(self, *cases: str) -> LabelCounts:
        """Of some cases, all unless given."""
        return LabelCounts(self.data, cases or tuple(RADII))


@pytest.fixture
def preprocessed(tmp_path, monkeypatch) -> Preprocessed:
    """Blobs of five sizes, one case without, one case to validate on."""
    folder = tmp_path / "preprocessed" / DATASET
    found = Preprocessed(folder)
    found.data.mkdir(parents=True)
    for name, radius in RADII.items():
        save_case(found.data, name, blob(radius))
    dataset = {"channel_names": {"0": "noNorm"}, "labels": LABELS, "numTraining": len(RADII), "file_ending": ".png"}
    (folder / "dataset.json").write_text(json.dumps(dataset))
    (folder / "dataset_fingerprint.json").write_text("{}")
    split = {"train": sorted(set(RADII) - {"validation"}), "val": ["validation"]}
    (folder / "splits_final.json").write_text(json.dumps([split]))
    for name in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"nnUNet_{name}", str(tmp_path / name))
    # No worker processes, so that what a seed gives is what the next run gets.
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    for variable, value in (("EPOCHS", "4"), ("ITERATIONS", "5"), ("VAL_ITERATIONS", "1")):
        monkeypatch.setenv(f"NNUNETV2_MAMBA_{variable}", value)
    return found


TrainerFactory = Callable[..., nnUNetTrainer]


@pytest.fixture
def make_trainer(preprocessed) -> TrainerFactory:
    """Call with a trainer class; further arguments go into dataset.json. The same seed each time."""

    def make(
        trainer_class: type[nnUNetTrainer], batch_dice: bool = True, device: str = "cpu", **dataset_json: object
    ) -> nnUNetTrainer:
        dataset = json.loads((preprocessed.folder / "dataset.json").read_text()) | dataset_json
        torch.manual_seed(0)
        np.random.seed(0)
        trainer = trainer_class(
            plans(batch_dice) | {"continue_training": False}, "2d", 0, dataset, torch.device(device)
        )
        # Thirty by fifty-four inches take seconds.
        trainer.logger.plot_progress_png = lambda _: None
        return trainer

    return make
