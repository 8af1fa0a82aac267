"""A training that can be killed anywhere and whose steps depend on nothing but their number.

Its functions run in processes forked from one that has imported torch and nnU-Net already.
"""

import errno
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import ClassVar

import blosc2
import numpy as np
import torch
from batchgenerators.utilities.file_and_folder_operations import write_pickle
from nnunetv2.run.run_training import maybe_load_checkpoint

from nnunetv2_mamba.trainers.nnUNetTrainerS3Mamba import nnUNetTrainerS3Mamba
from nnunetv2_mamba.training.curriculum import mixin
from tests.training.conftest import toy_plans

BASE = nnUNetTrainerS3Mamba
"""What is killed and continued; it gets a tiny network and its own state in checkpoints is compared too."""

DATASET = "Dataset999_Toy"
TRAINING, VALIDATION = ("a", "b", "c", "d"), ("e", "f")
PATCH_SIZE = (16, 16)
DATASET_JSON = {"channel_names": {"0": "noNorm"}, "labels": {"background": 0, "lesion": 1}, "file_ending": ".png"}
EPOCHS = 16


class ResumableTrainer(BASE):
    """Draws random cases and numbers that are the same whenever a step is taken."""

    network_overrides: ClassVar = {
        "features_per_stage": (4, 8),
        "n_blocks_per_stage": (1, 1),
        "n_blocks_per_stage_decoder": (1, 1),
        "d_state": 1,
    }
    started: Connection | None = None

    def initialize(self) -> None:
        torch.manual_seed(0)
        super().initialize()
        self.save_every = 1
        # Drawing takes longer than training.
        self.logger.plot_progress_png = lambda folder: None

    def get_dataloaders(self) -> tuple[Iterator[dict], Iterator[dict]]:
        cases = self.get_tr_and_val_datasets()
        return tuple(self._batches(seed, dataset) for seed, dataset in enumerate(cases))

    def _batches(self, seed: int, dataset) -> Iterator[dict]:
        transforms = self.get_validation_transforms(self._get_deep_supervision_scales())
        for step in count():
            iterations = self.num_val_iterations_per_epoch if seed else self.num_iterations_per_epoch
            # Drop path and the choice of cases use these.
            state = np.random.default_rng((seed, self.current_epoch, step % iterations))
            torch.manual_seed(int(state.integers(2**31)))
            keys = [str(key) for key in state.choice(sorted(dataset.identifiers), 2)]
            samples = [self._sample(dataset, key, transforms) for key in keys]
            targets = zip(*(sample["segmentation"] for sample in samples), strict=True)
            data = torch.stack([sample["image"] for sample in samples])
            yield {"data": data, "target": [torch.stack(target) for target in targets], "keys": keys}

    @staticmethod
    def _sample(dataset, key: str, transforms) -> dict:
        image, segmentation, *_ = dataset.load_case(key)
        image, segmentation = torch.from_numpy(image[:][:, 0]), torch.from_numpy(segmentation[:][:, 0])
        return transforms(image=image + 0.1 * torch.randn(image.shape), segmentation=segmentation)

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        if self.started is not None:
            self.started.send(self.current_epoch)


def write_dataset(root: Path) -> None:
    """What nnU-Net's preprocessing leaves, with lesions of different sizes."""
    folder = root / "preprocessed" / DATASET / "toy"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for size, case in enumerate(TRAINING + VALIDATION, start=3):
        segmentation = np.zeros((1, 1, *PATCH_SIZE), np.int16)
        segmentation[..., 2 : 2 + size, 3 : 3 + size] = 1
        image = segmentation + rng.normal(0, 0.3, segmentation.shape)
        blosc2.asarray(image.astype(np.float32), urlpath=str(folder / f"{case}.b2nd"))
        blosc2.asarray(segmentation, urlpath=str(folder / f"{case}_seg.b2nd"))
        write_pickle({}, str(folder / f"{case}.pkl"))
    (folder.parent / "dataset_fingerprint.json").write_text("{}")
    (folder.parent / "splits_final.json").write_text(json.dumps([{"train": TRAINING, "val": VALIDATION}]))


def resumed_trainer(root: Path, results: str) -> ResumableTrainer:
    """What ``nnUNetv2_train --c`` makes before it trains: with the latest checkpoint, or new where there is none."""
    for folder in ("raw", "preprocessed"):
        os.environ[f"nnUNet_{folder}"] = str(root / folder)
    os.environ["nnUNet_results"] = str(root / results)
    # No kernels that each process would have to load.
    os.environ["NNUNETV2_MAMBA_BACKEND"] = "torch"
    for variable, number in (("EPOCHS", EPOCHS), ("ITERATIONS", 2), ("VAL_ITERATIONS", 1)):
        os.environ[f"NNUNETV2_MAMBA_{variable}"] = str(number)
    mixin.progress.plot = lambda *_: None
    torch.set_num_threads(1)
    plans = {**toy_plans([(1, 1), (2, 2), (2, 2), (2, 2)], PATCH_SIZE), "continue_training": True}
    trainer = ResumableTrainer(plans, "toy", 0, DATASET_JSON, torch.device("cpu"))
    maybe_load_checkpoint(trainer, continue_training=True, validation_only=False)
    return trainer


def train(root: Path, results: str, started: Connection) -> None:
    """Train to the end; the pipe gets the number of each epoch that starts."""
    sys.stdout = sys.stderr = (root / f"{results}.txt").open("a", buffering=1)
    trainer = resumed_trainer(root, results)
    trainer.started = started
    trainer.run_training()


def train_without_locks(root: Path, results: str, started: Connection) -> None:
    """Train on a file system that cannot lock files."""
    import fcntl

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    fcntl.lockf = refuse
    train(root, results, started)


def die_while_saving(root: Path, results: str, _: Connection) -> None:
    """Save an old checkpoint, then die at every point of saving a new one, each time in a process of its own.

    Writes down what was under the checkpoint's name after each death.
    """
    sys.stdout = sys.stderr = (root / f"{results}.txt").open("a", buffering=1)
    trainer = resumed_trainer(root, results)
    trainer.on_train_start()
    file = Path(trainer.output_folder, "checkpoint_latest.pth")
    trainer.save_latest(next_epoch=5)
    old = file.read_bytes()
    found = []
    for name, arm in _deaths(len(old)).items():
        file.write_bytes(old)
        child = os.fork()
        if child == 0:
            arm()
            trainer.save_latest(next_epoch=9)
            os._exit(0)
        died = os.WIFSIGNALED(os.waitpid(child, 0)[1])
        if file.read_bytes() == old:
            content = "old"
        else:
            content = "new" if torch.load(file, weights_only=False)["current_epoch"] == 9 else "other"
        found.append({"death": name, "died": died, "content": content})
    trainer.save_latest(next_epoch=9)
    names = sorted(path.name for path in file.parent.iterdir() if path.suffix != ".txt")
    (root / "deaths.json").write_text(json.dumps({"deaths": found, "names": names}))


def _deaths(size: int) -> dict[str, Callable[[], None]]:
    """Ways to die while a checkpoint of so many bytes is written; each is prepared by a call."""
    deaths = {}
    for byte in range(0, size, size // 12):
        deaths[f"byte {byte} of the file"] = partial(_die_at_byte, byte)
    deaths["renaming"] = partial(_before, "os.rename", 1, _die)
    deaths["after renaming"] = partial(_before, "os.remove", 1, _die)
    return deaths


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_at_byte(number: int) -> None:
    """Die when a file, whoever writes it, is to become longer."""
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (number, number))


def _before(event: str, number: int, act: Callable[[], None]) -> None:
    """Act just before something is done for the n-th time to a file that this process writes aside."""
    left = count(number - 1, -1)

    def watch(name: str, arguments: tuple) -> None:
        if name == event and str(arguments[0]).endswith(f"-{os.getpid()}.partial") and next(left) == 0:
            act()

    sys.addaudithook(watch)
