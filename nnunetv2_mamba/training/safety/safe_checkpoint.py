"""Checkpoints that stay whole if the process is killed, can hold further entries, and are checked before loading."""

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
    """Put it in front of any trainer of nnU-Net: `class MyTrainer(SafeCheckpointMixin, nnUNetTrainerDA5)`.

    A checkpoint is written to a temporary file, which is renamed when it is complete, so that there is always a whole
    checkpoint under the name: the old one or the new one. Each process has its own temporary file, and the next
    checkpoint removes those of killed processes. A lock lets only one process train in a folder. On a file system
    without locks, two processes overwrite the checkpoints of each other, and neither fails.

    Attributes:
        checkpoint_minutes: checkpoint_latest.pth is also written at the end of an epoch if the last one is older than
            this, because nnU-Net's `save_every` epochs can take days on a slow machine.
    """

    checkpoint_minutes: float = 15.0

    current_epoch: int
    save_every: int
    _latest_written: float | None = None
    _lock: TrainingLock | None = None

    def checkpoint_extras(self) -> dict[str, Any]:
        """Further entries of a checkpoint; called on rank 0 only, so it must not wait for other ranks."""
        return {}

    def load_checkpoint_extras(self, checkpoint: Mapping[str, Any]) -> None:
        """Restore what `checkpoint_extras` returned; called after nnU-Net's own entries have been loaded.

        Args:
            checkpoint: the entries that are not nnU-Net's, tensors on the CPU; empty if no trainer added any.
        """

    def run_training(self) -> None:
        """Train, unless another process trains the same fold.

        Raises:
            TrainingRunningError: another process trains this fold; nothing was written.
        """
        if self.local_rank == 0 and self._lock is None:
            # The lock lasts as long as the trainer or the process, so that it includes the validation after training.
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
            # nnU-Net removes this file next, and fails if another training of this fold has just removed it.
            path.with_name(LATEST).unlink(missing_ok=True)

    @contextmanager
    def _extras_in_optimizer_state(self) -> Iterator[None]:
        """Add `checkpoint_extras` to the optimizer's state, because nnU-Net itself writes no further entries."""
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
            CheckpointError: the file is unreadable, or from another trainer, network or optimizer; nothing was loaded
                or written.
        """
        if not self.was_initialized:
            self.initialize()
        name = type(self).__name__
        checkpoint = require_checkpoint(filename_or_checkpoint, name, network=self.network, optimizer=self.optimizer)
        # Earlier versions had the extras among nnU-Net's own entries.
        extras = {key: value for key, value in checkpoint.items() if key not in STOCK_KEYS}
        # Copied, so that the file does not stay memory-mapped: Windows cannot replace a mapped file.
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

        nnU-Net writes it before it compares the epoch with the best one. If this epoch is the best one, a training that
        continues from that file does not know it, and later overwrites checkpoint_best.pth with a worse one.
        """
        epoch, save_every = self.current_epoch, self.save_every
        self.save_every = sys.maxsize
        try:
            super().on_epoch_end()
        finally:
            self.save_every = save_every
        self.save_best_of_others(next_epoch=epoch + 1)
        if epoch + 1 < self.num_epochs and ((epoch + 1) % save_every == 0 or self._latest_is_old()):
            self.save_latest(next_epoch=epoch + 1)

    def save_best_of_others(self, next_epoch: int) -> None:
        """Where a subclass writes the best network by a measure of its own, for the same reason before the latest."""

    def save_latest(self, next_epoch: int) -> None:
        """Write checkpoint_latest.pth, from which ``--c`` goes on with `next_epoch`."""
        self.save_as(LATEST, next_epoch)

    def save_as(self, name: str, next_epoch: int) -> None:
        """Write a checkpoint into the folder of the fold, from which a training would go on with `next_epoch`."""
        # nnU-Net stores current_epoch + 1.
        current_epoch, self.current_epoch = self.current_epoch, next_epoch - 1
        try:
            self.save_checkpoint(str(Path(self.output_folder, name)))
        finally:
            self.current_epoch = current_epoch

    def _latest_is_old(self) -> bool:
        return self._latest_written is None or monotonic() - self._latest_written >= 60 * self.checkpoint_minutes


def _flush(path: Path) -> None:
    """Write the content of a file through to the disk."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush_names(folder: Path) -> None:
    """Write the names in a folder through to the disk."""
    # Windows and some network disks cannot do this.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
