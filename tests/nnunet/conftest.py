"""A toy dataset and nnU-Net's own commands on it, each in a new process that is told nothing of us."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

DATASET = "Dataset901_Toy"
SHAPE = (48, 40)
QUICK = {
    "NNUNETV2_MAMBA_EPOCHS": "1",
    "NNUNETV2_MAMBA_ITERATIONS": "2",
    "NNUNETV2_MAMBA_VAL_ITERATIONS": "1",
    # nnU-Net's worker processes, each of which would import torch again.
    "nnUNet_n_proc_DA": "0",
    "nnUNet_def_n_proc": "1",
    "OMP_NUM_THREADS": "1",
}


class CommandError(RuntimeError):
    """A command failed; the message holds its output."""


@dataclass(frozen=True)
class Workspace:
    """nnU-Net's three folders and commands that know nothing but these.

    Attributes:
        root: holds raw, preprocessed and the results.
        results: name of the results folder.
        dataset: name of the dataset.
        configuration: what is trained and predicted.
    """

    root: Path
    results: str = "results"
    dataset: str = DATASET
    configuration: str = "2d"
    quick: dict[str, str] = field(default_factory=lambda: dict(QUICK))

    @property
    def raw(self) -> Path:
        """Folder of the dataset's images and labels."""
        return self.root / "raw" / self.dataset

    @property
    def preprocessed(self) -> Path:
        """Folder of the dataset's plans and preprocessed cases."""
        return self.root / "preprocessed" / self.dataset

    @property
    def environment(self) -> dict[str, str]:
        inherited = {
            k: v for k, v in os.environ.items() if not k.startswith(("nnUNet", "NNUNETV2_MAMBA", "PYTHONPATH"))
        }
        folders = {"raw": "raw", "preprocessed": "preprocessed", "results": self.results}
        return inherited | {f"nnUNet_{k}": str(self.root / v) for k, v in folders.items()} | self.quick

    def run(self, command: str, *arguments: str | int | Path, **variables: str) -> str:
        """Output of a console script that sits beside the Python of the tests.

        Raises:
            CommandError: it failed.
        """
        done = subprocess.run(
            [str(Path(sys.executable).parent / command), *map(str, arguments)],
            env=self.environment | variables,
            cwd=self.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise CommandError(f"{command} {' '.join(map(str, arguments))}\n{done.stdout}")
        return done.stdout

    def train(self, trainer: str, fold: int | str, *arguments: str | Path, **variables: str) -> str:
        """Output of nnUNetv2_train on the CPU."""
        model = [self.dataset, self.configuration, fold, "-tr", trainer]
        return self.run("nnUNetv2_train", *model, "-device", "cpu", *arguments, **variables)

    def predict(
        self,
        trainer: str,
        folds: Iterable[int | str],
        output: str,
        *arguments: str | Path,
        command: Sequence[str] = ("nnUNetv2_predict",),
        **variables: str,
    ) -> Path:
        """Folder with the predictions of nnUNetv2_predict, or of another command that takes its arguments."""
        # No worker processes: preprocessing and export of two tiny images are quicker in line.
        where = ["-i", self.raw / "imagesTs", "-o", self.root / output, "-npp", 0, "-nps", 0]
        model = ["-d", self.dataset, "-c", self.configuration, "-tr", trainer, "-f", *folds]
        self.run(*command, *where, *model, "-device", "cpu", *arguments, **variables)
        return self.root / output

    def model(self, trainer: str, plans: str = "nnUNetPlans") -> Path:
        """Folder in which nnU-Net keeps the folds of a trainer."""
        return self.root / self.results / self.dataset / f"{trainer}__{plans}__{self.configuration}"


def both(*jobs) -> list:
    """Results of calls that run side by side."""
    with ThreadPoolExecutor(len(jobs)) as pool:
        return [future.result() for future in [pool.submit(job) for job in jobs]]


def write_case(folder: Path, name: str, split: str, rng: np.random.Generator) -> None:
    image = rng.integers(0, 90, (*SHAPE, 3))
    label = np.zeros(SHAPE, np.uint8)
    rows, columns = np.indices(SHAPE)
    for _ in range(3):
        centre, radius = rng.integers((6, 6), (42, 34)), rng.integers(2, 6)
        blob = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2
        image[blob] += 120
        label[blob] = 1
    Image.fromarray(image.astype(np.uint8)).save(folder / f"images{split}" / f"{name}_0000.png")
    if split == "Tr":
        Image.fromarray(label).save(folder / "labelsTr" / f"{name}.png")


@pytest.fixture(scope="session")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Eight images with blobs, planned and preprocessed by nnU-Net, with two folds."""
    workspace = Workspace(tmp_path_factory.mktemp("toy"))
    raw = workspace.raw
    for sub in ("imagesTr", "labelsTr", "imagesTs"):
        (raw / sub).mkdir(parents=True)
    rng = np.random.default_rng(0)
    training, test = [f"case_{i:02d}" for i in range(8)], [f"test_{i}" for i in range(2)]
    for split, names in (("Tr", training), ("Ts", test)):
        for name in names:
            write_case(raw, name, split, rng)
    channels = {str(i): colour for i, colour in enumerate(("red", "green", "blue"))}
    dataset_json = {
        "channel_names": channels,
        "labels": {"background": 0, "blob": 1},
        "numTraining": len(training),
        "file_ending": ".png",
    }
    (raw / "dataset.json").write_text(json.dumps(dataset_json))
    # The planner counts on a worker process for augmentation.
    planner = ["-d", 901, "-c", "2d", "-npfp", 2, "-np", 2]
    workspace.run("nnUNetv2_plan_and_preprocess", *planner, nnUNet_n_proc_DA="1")
    # Two folds with two cases each to validate: the commands take as many seconds as they have cases.
    splits = [{"train": training[:6], "val": training[6:]}, {"train": training[2:], "val": training[:2]}]
    (workspace.preprocessed / "splits_final.json").write_text(json.dumps(splits))
    return workspace
