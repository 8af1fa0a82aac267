"""Checkpoints that survive a kill at any moment, hold what a subclass adds to them, and are checked before loading."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from copy import deepcopy
from pathlib import Path
from time import monotonic
from typing import Any

from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunetv2_mamba.files import remove_abandoned, written_aside
from nnunetv2_mamba.training.safety.checkpoint_file import STOCK_KEYS, require_checkpoint
from nnunetv2_mamba.training.safety.training_lock import TrainingLock

LATEST = "checkpoint_latest.pth"
FINAL = "checkpoint_final.pth"

EXTRAS_KEY = "nnunetv2_mamba"
"""Entry of a checkpoint's ``optimizer_state`` that holds what subclasses add."""


class SafeCheckpointMixin(nnUNetTrainer):
    """Goes in front of any trainer of nnU-Net: `class MyTrainer(SafeCheckpointMixin, nnUNetTrainerDA5)`.

    A file is written aside and renamed when it is whole: under its name there is the old checkpoint or the new one,
    never a part. The file aside has a name of its own in each process, and what killed processes left is removed by the
    next checkpoint. Only one process at a time trains in a folder, as far as the file system knows locks; where it does
    not, two write the same checkpoints in turn, and neither fails.

    Attributes:
        checkpoint_minutes: checkpoint_latest.pth is also written after the first epoch that ends this long after the
            last one was, though nnU-Net's `save_every` epochs have not passed: on a slow machine they take days.
    """

    checkpoint_minutes: float = 15.0

    current_epoch: int
    save_every: int
    _latest_written: float | None = None
    _lock: TrainingLock | None = None

    def checkpoint_extras(self) -> dict[str, Any]:
        """Further entries of a checkpoint; asked on rank 0 alone, so nothing in here may wait for other ranks."""
        return {}

    def load_checkpoint_extras(self, checkpoint: Mapping[str, Any]) -> None:
        """Take what `checkpoint_extras` gave; called when everything of nnU-Net's own has been loaded.

        Args:
            checkpoint: the entries that are not nnU-Net's, tensors on the CPU; empty where no trainer added any.
        """

    def run_training(self) -> None:
        """Train, unless another process trains the same fold.

        Raises:
            TrainingRunningError: another process does; nothing was written.
        """
        if self.local_rank == 0 and self._lock is None:
            # Kept for the validation that follows the training: it ends with the trainer or the process.
            self._lock = TrainingLock(Path(self.output_folder))
        super().run_training()

    def save_checkpoint(self, filename: str) -> None:
        """Write a checkpoint, or nothing where nnU-Net writes nothing: on other ranks, or when checkpoints are off."""
        if self.local_rank != 0 or self.disable_checkpointing:
            super().save_checkpoint(filename)
            return
        path = Path(filename)
        remove_abandoned(path.parent)
        with self._extras_in_optimizer_state(), written_aside(path) as aside:
            super().save_checkpoint(str(aside))
            _flush(aside)
        _flush_names(path.parent)
        if path.name == LATEST:
            self._latest_written = monotonic()
        if path.name == FINAL:
            # nnU-Net removes it next, and fails if another training of this fold does so at the same moment.
            path.with_name(LATEST).unlink(missing_ok=True)

    @contextmanager
    def _extras_in_optimizer_state(self) -> Iterator[None]:
        """Have the optimizer's state hold `checkpoint_extras`: nnU-Net's writer itself takes no further entries."""
        extras = self.checkpoint_extras()
        if not extras:
            yield
            return
        hook = self.optimizer.register_state_dict_post_hook(lambda _, state: {**state, EXTRAS_KEY: extras})
        try:
            yield
        finally:
            hook.remove()

    def load_checkpoint(self, filename_or_checkpoint: str) -> None:
        """Load a checkpoint file for ``--c`` or ``--val``.

        Raises:
            CheckpointError: it is unreadable, or of another trainer, network or optimizer; nothing was loaded or
                written.
        """
        if not self.was_initialized:
            self.initialize()
        name = type(self).__name__
        checkpoint = require_checkpoint(filename_or_checkpoint, name, self.network, self.optimizer)
        # Earlier versions had the extras among nnU-Net's own entries.
        extras = {key: value for key, value in checkpoint.items() if key not in STOCK_KEYS}
        # Copied, so that nothing keeps the file mapped: Windows could then not replace it by the next checkpoint.
        extras = deepcopy(extras | checkpoint["optimizer_state"].get(EXTRAS_KEY, {}))
        del checkpoint
        super().load_checkpoint(filename_or_checkpoint)
        self.load_checkpoint_extras(extras)

    def on_train_start(self) -> None:
        """Start the clock of `checkpoint_minutes` with the training."""
        super().on_train_start()
        self._latest_written = monotonic()

    def on_epoch_end(self) -> None:
        """End an epoch as nnU-Net does, but write the latest checkpoint last.

        nnU-Net writes it before it compares the epoch with the best one. Who continues from that file has forgotten
        the best Dice if it was this epoch's, and overwrites checkpoint_best.pth by a worse one.
        """
        epoch, save_every = self.current_epoch, self.save_every
        self.save_every = sys.maxsize
        try:
            super().on_epoch_end()
        finally:
            self.save_every = save_every
        if epoch + 1 < self.num_epochs and ((epoch + 1) % save_every == 0 or self._latest_is_old()):
            self.save_latest(next_epoch=epoch + 1)

    def save_latest(self, next_epoch: int) -> None:
        """Write checkpoint_latest.pth, from which ``--c`` goes on with an epoch."""
        # nnU-Net stores the number after the current one.
        current_epoch, self.current_epoch = self.current_epoch, next_epoch - 1
        try:
            self.save_checkpoint(str(Path(self.output_folder, LATEST)))
        finally:
            self.current_epoch = current_epoch

    def _latest_is_old(self) -> bool:
        return self._latest_written is None or monotonic() - self._latest_written >= 60 * self.checkpoint_minutes


def _flush(path: Path) -> None:
    """Have the content of a file reach the disk."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush_names(folder: Path) -> None:
    """Have the names in a folder reach the disk."""
    # Windows and some network disks cannot.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
