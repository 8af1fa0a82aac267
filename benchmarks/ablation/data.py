"""Datasets of the ablation: planned and preprocessed once by nnU-Net, with smaller patches for a small budget."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnunetv2_mamba.demo.shell import launcher

CONFIGURATION = "2d"
PLANS_NAME = "nnUNetPlans_ablation"


@dataclass(frozen=True)
class Budget:
    """What every row gets.

    Attributes:
        epochs: steps of the schedules.
        iterations: training steps per epoch.
        patch: edge length of the square patches, in pixels.
        batch: patches per step.
        tile_step: step of the sliding window at prediction, over the patch; nnU-Net's own is 0.5.
    """

    epochs: int
    iterations: int
    patch: int
    batch: int
    tile_step: float = 0.5


DATASETS = {"dsb2018_nuclei_small": "Dataset901_Nuclei", "idrid_fundus_tiles": "Dataset902_Fundus"}
"""Folder of each raw dataset and the name nnU-Net knows it by."""

BUDGETS = {
    "dsb2018_nuclei_small": Budget(epochs=20, iterations=4, patch=128, batch=2, tile_step=1.0),
    "idrid_fundus_tiles": Budget(epochs=20, iterations=14, patch=128, batch=2, tile_step=1.0),
}
"""For a minute or two of two CPU cores; nuclei are learned in fewer steps than sparse lesions."""


class AblationError(RuntimeError):
    """The ablation cannot go on; the message says why and what to do."""


@dataclass(frozen=True)
class Case:
    """A held-out image as nnU-Net's reader gives it.

    Attributes:
        name: of the case.
        image: (C, 1, H, W).
        properties: nnU-Net's own, with the spacing.
        reference: labels (1, H, W).
    """

    name: str
    image: np.ndarray
    properties: dict[str, Any]
    reference: np.ndarray


def variables(work: Path, results: Path) -> dict[str, str]:
    """Environment of a process of nnU-Net: its folders, and nothing that costs more than a short training gains.

    Args:
        work: folder of the ablation.
        results: folder for what a training writes.
    """
    return {
        "nnUNet_raw": str(work / "nnUNet_raw"),
        "nnUNet_preprocessed": str(work / "nnUNet_preprocessed"),
        "nnUNet_results": str(results),
        "nnUNet_def_n_proc": "1",
        "nnUNet_compile": os.environ.get("nnUNet_compile", "f"),
        "OMP_WAIT_POLICY": "PASSIVE",
    }


def prepare(data: Path, work: Path, dataset: str, budget: Budget) -> None:
    """Copy, plan and preprocess a dataset where that is not done yet, and write plans with the budget's patches.

    Raises:
        AblationError: the dataset is not there or not complete, or nnU-Net could not plan it.
    """
    name = DATASETS[dataset]
    raw, preprocessed = work / "nnUNet_raw" / name, work / "nnUNet_preprocessed" / name
    if not raw.exists():
        _require_raw(data / dataset)
        # Renamed into place when complete, so that an interrupted copy is never taken for a dataset.
        unfinished = work / f".{name}.{os.getpid()}"
        # Without modes: those of a read-only source would keep us from renaming the copy.
        shutil.copytree(data / dataset, unfinished, copy_function=shutil.copyfile)
        raw.parent.mkdir(exist_ok=True)
        unfinished.chmod(0o755)
        unfinished.rename(raw)
    done = preprocessed / "ablation_preprocessed"
    if not done.exists():
        command = ["nnUNetv2_plan_and_preprocess", "-d", name[7:10], "-c", CONFIGURATION, "-npfp", "1", "-np", "1"]
        environment = os.environ | variables(work, work / "nnUNet_results")
        finished = subprocess.run(
            [*launcher(command[0]), *command[1:], "--verify_dataset_integrity"],
            env=environment, capture_output=True, text=True,
        )  # fmt: skip
        if finished.returncode:
            raise AblationError(f"nnU-Net could not plan {dataset}: {last_line(finished.stdout + finished.stderr)}")
        done.touch()
    plans = json.loads((preprocessed / "nnUNetPlans.json").read_text())
    (preprocessed / f"{PLANS_NAME}.json").write_text(json.dumps(with_patches(plans, budget), indent=4) + "\n")


def with_patches(plans: Mapping[str, Any], budget: Budget) -> dict[str, Any]:
    """Plans with the budget's patch and batch size; the preprocessed data stay the same."""
    derived = deepcopy(dict(plans))
    derived["plans_name"] = PLANS_NAME
    derived["configurations"][CONFIGURATION] |= {"patch_size": [budget.patch] * 2, "batch_size": budget.batch}
    return derived


def held_out_cases(raw: Path, reader: Any) -> Iterator[Case]:
    """The cases of ``imagesTs`` with their references.

    Args:
        raw: folder of the raw dataset.
        reader: nnU-Net's reader and writer of its images.
    """
    ending = json.loads((raw / "dataset.json").read_text())["file_ending"]
    for file in sorted((raw / "labelsTs").glob(f"*{ending}")):
        name = file.name.removesuffix(ending)
        images = sorted((raw / "imagesTs").glob(f"{name}_[0-9][0-9][0-9][0-9]{ending}"))
        image, properties = reader.read_images([str(image) for image in images])
        yield Case(name, image, properties, reader.read_seg(str(file))[0][0])


def labels_of(raw: Path) -> dict[str, int]:
    """Foreground labels of a dataset by name."""
    labels = json.loads((raw / "dataset.json").read_text())["labels"]
    return {name: value for name, value in labels.items() if value != 0}


def last_line(text: str) -> str:
    """The last line of an output that is not empty, which is where Python says what went wrong."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "it said nothing")


def _require_raw(folder: Path) -> None:
    parts = ("dataset.json", "imagesTr", "labelsTr", "imagesTs", "labelsTs")
    if missing := [part for part in parts if not (folder / part).exists()]:
        raise AblationError(
            f"{folder} lacks {', '.join(missing)}: give the folder that holds {', '.join(DATASETS)} in nnU-Net's raw "
            "format with --data."
        )
