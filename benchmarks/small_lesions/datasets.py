"""Datasets of the benchmark: any folder in nnU-Net's raw format, planned and preprocessed once by nnU-Net."""

import csv
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from sklearn.model_selection import GroupKFold

from benchmarks.small_lesions.budget import Budget
from nnunetv2_mamba.demo.shell import launcher

PLANS_NAME = "nnUNetPlans_benchmark"
FIRST_ID = 700

Question = Literal["explore", "test"]
"""``explore`` trains on four fifths of the training images and scores on the others; ``test``, on the test images."""


class BenchmarkError(RuntimeError):
    """The benchmark cannot go on; the message says why and what to do."""


@dataclass(frozen=True)
class Case:
    """An image to be predicted.

    Attributes:
        name: of the case.
        group: cases of one group, such as a patient, are not independent.
        image: (C, *spatial), with a leading axis of one slice in 2-D.
        properties: nnU-Net's own, with the spacing.
        reference: labels (*spatial), likewise.
    """

    name: str
    group: str
    image: np.ndarray
    properties: dict[str, Any]
    reference: np.ndarray


class Workspace:
    """nnU-Net's folders with the datasets of the benchmark.

    Args:
        folder: that holds them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def variables(self) -> dict[str, str]:
        """Environment of a process of nnU-Net: its folders, and one process only, since that is what a seed settles.

        Trainers of the benchmark, which are candidates, are found beside those of the user.
        """
        trainers = [os.environ.get("nnUNet_extTrainer"), str(Path(__file__).parent / "trainers")]
        return {
            "nnUNet_extTrainer": os.pathsep.join(filter(None, trainers)),
            "nnUNet_raw": str(self.folder / "nnUNet_raw"),
            "nnUNet_preprocessed": str(self.folder / "nnUNet_preprocessed"),
            "nnUNet_results": str(self.folder / "nnUNet_results"),
            "nnUNet_def_n_proc": "1",
            "nnUNet_n_proc_DA": "0",
            "nnUNet_compile": os.environ.get("nnUNet_compile", "f"),
            "OMP_WAIT_POLICY": "PASSIVE",
        }

    def name_of(self, dataset: str) -> str:
        """Name of a dataset among nnU-Net's, with the number that it gets when it is added.

        Args:
            dataset: name of its folder.
        """
        raw = self.folder / "nnUNet_raw"
        known = {path.name.partition("_")[2]: path.name for path in raw.glob("Dataset*")}
        return known.get(dataset, f"Dataset{FIRST_ID + len(known)}_{dataset}")

    def raw(self, dataset: str) -> Path:
        """Folder of its images and labels."""
        return self.folder / "nnUNet_raw" / self.name_of(dataset)

    def preprocessed(self, dataset: str) -> Path:
        """Folder of its plans and preprocessed cases."""
        return self.folder / "nnUNet_preprocessed" / self.name_of(dataset)

    def configuration(self, dataset: str) -> str:
        """``3d_fullres`` where the dataset has volumes, else ``2d``."""
        plans = json.loads((self.preprocessed(dataset) / "nnUNetPlans.json").read_text())
        return "3d_fullres" if "3d_fullres" in plans["configurations"] else "2d"

    def prepare(self, source: Path) -> None:
        """Copy, plan and preprocess a dataset where that is not done yet.

        Args:
            source: its folder, whose name becomes the name of the dataset.

        Raises:
            BenchmarkError: the folder is not a dataset with test images, or nnU-Net cannot plan it.
        """
        _require_raw(source)
        dataset = source.name
        raw, preprocessed = self.raw(dataset), self.preprocessed(dataset)
        if not raw.exists():
            # Renamed when it is complete, so that an interrupted copy is never taken for a dataset.
            unfinished = self.folder / f".{dataset}.{os.getpid()}"
            shutil.copytree(source, unfinished, copy_function=shutil.copyfile)
            raw.parent.mkdir(parents=True, exist_ok=True)
            unfinished.rename(raw)
        done = preprocessed / "benchmark_preprocessed"
        if done.exists():
            return
        command = ["nnUNetv2_plan_and_preprocess", "-d", raw.name[7:10], "--verify_dataset_integrity"]
        command += ["-c", "2d" if _is_flat(raw) else "3d_fullres", "-npfp", "1", "-np", "1"]
        # The planner counts on a worker process for the augmentation.
        environment = os.environ | self.variables() | {"nnUNet_n_proc_DA": "1"}
        finished = subprocess.run(
            [*launcher(command[0]), *command[1:]], env=environment, capture_output=True, text=True, check=False
        )
        if finished.returncode:
            raise BenchmarkError(f"nnU-Net cannot plan {dataset}: {last_line(finished.stdout + finished.stderr)}")
        _write_splits(raw, preprocessed)
        done.touch()

    def plans(self, dataset: str, budget: Budget) -> dict[str, Any]:
        """The plans of a dataset with the patch and batch size of a budget; the preprocessed data stay the same."""
        plans = deepcopy(json.loads((self.preprocessed(dataset) / "nnUNetPlans.json").read_text()))
        plans["plans_name"] = PLANS_NAME
        entry = plans["configurations"][self.configuration(dataset)]
        divisor = np.prod(entry["architecture"]["arch_kwargs"]["strides"], axis=0).astype(int)
        patch = [min(size, budget.patch) for size in entry["patch_size"]]
        entry["patch_size"] = [int(max(step, size // step * step)) for size, step in zip(patch, divisor, strict=True)]
        entry["batch_size"] = budget.batch
        return plans

    def cases(self, dataset: str, question: Question, reader: Any) -> Iterator[Case]:
        """The images that a question is decided on.

        Args:
            dataset: its name.
            question: which.
            reader: nnU-Net's reader of its images.
        """
        raw = self.raw(dataset)
        part = "Ts" if question == "test" else "Tr"
        ending = json.loads((raw / "dataset.json").read_text())["file_ending"]
        groups = groups_of(raw)
        names = sorted(file.name.removesuffix(ending) for file in (raw / f"labels{part}").glob(f"*{ending}"))
        if question == "explore":
            splits = json.loads((self.preprocessed(dataset) / "splits_final.json").read_text())
            names = sorted(splits[0]["val"])
        for name in names:
            images = sorted((raw / f"images{part}").glob(f"{name}_[0-9][0-9][0-9][0-9]{ending}"))
            image, properties = reader.read_images([str(file) for file in images])
            reference = reader.read_seg(str(raw / f"labels{part}" / f"{name}{ending}"))[0][0]
            yield Case(name, groups.get(name, name), image, properties, reference)


def groups_of(raw: Path) -> Mapping[str, str]:
    """Group of each case, from the column ``group`` of ``cases.tsv``; empty where there is none."""
    file = raw / "cases.tsv"
    if not file.is_file():
        return {}
    with file.open(newline="") as stream:
        return {row["id"]: row.get("group") or row["id"] for row in csv.DictReader(stream, delimiter="\t")}


def last_line(text: str) -> str:
    """The last line of an output that is not empty, where Python says what went wrong."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "it said nothing")


def _write_splits(raw: Path, preprocessed: Path) -> None:
    """Five folds in which no group is on both sides."""
    groups = groups_of(raw)
    ending = json.loads((raw / "dataset.json").read_text())["file_ending"]
    names = sorted(file.name.removesuffix(ending) for file in (raw / "labelsTr").glob(f"*{ending}"))
    of_group = [groups.get(name, name) for name in names]
    folds = GroupKFold(min(5, len(set(of_group)))).split(names, groups=of_group)
    splits = [
        {part: _chosen(names, indices) for part, indices in zip(("train", "val"), fold, strict=True)} for fold in folds
    ]
    (preprocessed / "splits_final.json").write_text(json.dumps(splits, indent=1) + "\n")


def _chosen(names: Sequence[str], indices: np.ndarray) -> list[str]:
    return [names[index] for index in indices]


def _is_flat(raw: Path) -> bool:
    return json.loads((raw / "dataset.json").read_text())["file_ending"] in (".png", ".bmp", ".tif", ".jpg")


def _require_raw(folder: Path) -> None:
    parts = ("dataset.json", "imagesTr", "labelsTr", "imagesTs", "labelsTs")
    if missing := [part for part in parts if not (folder / part).exists()]:
        raise BenchmarkError(f"{folder} lacks {', '.join(missing)}: name a dataset in nnU-Net's raw format.")
