"""The curriculum as one more base class of any nnU-Net trainer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetBaseDataset
from torch import Tensor, nn

from nnunetv2_mamba.training.curriculum import progress
from nnunetv2_mamba.training.curriculum.difficulty import DifficultyMeasurer
from nnunetv2_mamba.training.curriculum.lesion_sizes import CurriculumError, LabelCounts, lesion_size
from nnunetv2_mamba.training.curriculum.loss import CaseWeightedLoss, Weigh
from nnunetv2_mamba.training.curriculum.scheduler import Curriculum, TrainingScheduler
from nnunetv2_mamba.training.measured_cases import gathered
from nnunetv2_mamba.training.safety.safe_checkpoint import SafeCheckpointMixin

CHECKPOINT_KEY = "curriculum"


class CurriculumMixin(SafeCheckpointMixin):
    """Weights training cases from easy to hard: ``class T(CurriculumMixin, SomeTrainer)``.

    It works with every network, and with nnU-Net's own losses: Dice with (binary) cross-entropy. Its state, the average
    loss of each case, is in the checkpoint. Validation uses the stock loss.

    Attributes:
        curriculum: its constants; a subclass or an instance may replace them.
        measurer: difficulty of the training cases, once the training has started.
        case_weights: weight v of each case of the measurer in the current epoch (N,).
    """

    curriculum: ClassVar[Curriculum] = Curriculum()
    measurer: DifficultyMeasurer
    case_weights: np.ndarray

    def on_train_start(self) -> None:
        """Measure the lesions before nnU-Net starts anything.

        Raises:
            CurriculumError: a training case has no segmentation, or none of them has foreground.
        """
        if not self.was_initialized:
            self.initialize()
        self.measurer = DifficultyMeasurer(self._lesion_sizes(), self.curriculum.loss_decay)
        self._scheduler = TrainingScheduler(self.curriculum)
        self._observed: list[tuple[np.ndarray, Tensor]] = []
        saved = getattr(self, "_saved_curriculum", None)
        if saved is not None and (unknown := self.measurer.load_state_dict(saved)):
            self.print_to_log_file(
                f"curriculum: the checkpoint has no losses of {', '.join(unknown)}; they start without any"
            )
        super().on_train_start()

    def get_tr_and_val_datasets(self) -> tuple[nnUNetBaseDataset, nnUNetBaseDataset]:
        """The datasets in which the lesions were measured; the split is not made a second time."""
        return getattr(self, "_datasets", None) or super().get_tr_and_val_datasets()

    def on_train_epoch_start(self) -> None:
        """Compute the weights of the epoch."""
        super().on_train_epoch_start()
        self.case_weights = self._scheduler.weights(self._difficulty(), self._progress)

    def train_step(self, batch: dict) -> dict:
        """One stock step with weighted samples."""
        cases = self.measurer.positions(batch["keys"])
        with self.loss.observing(self._weigh(cases)) as observation:
            result = super().train_step(batch)
        # Copied to the CPU at the end of the epoch, so that no step has to wait for the device.
        self._observed.append((cases, observation.losses))
        return result

    def on_train_epoch_end(self, train_outputs: list[dict]) -> None:
        """Update the averages and log."""
        super().on_train_epoch_end(train_outputs)
        for cases, losses in self._observed:
            self.measurer.record(cases, losses.cpu().double().numpy())
        self._observed.clear()
        losses = self.measurer.end_epoch(self._over_processes)
        pacing = self._scheduler.pacing(self._progress)
        line = progress.log_epoch(
            self, pacing=pacing, weights=self.case_weights, losses=losses, sizes=self.measurer.sizes
        )
        self.print_to_log_file(line)

    def on_epoch_end(self) -> None:
        """Draw ``curriculum.png`` beside nnU-Net's ``progress.png``."""
        super().on_epoch_end()
        if self.local_rank == 0:
            progress.plot(self.logger, Path(self.output_folder) / "curriculum.png", len(self.measurer.cases))

    def checkpoint_extras(self) -> dict[str, Any]:
        """Average losses of the cases."""
        own = {CHECKPOINT_KEY: self.measurer.state_dict()} if hasattr(self, "measurer") else {}
        return {**super().checkpoint_extras(), **own}

    def load_checkpoint_extras(self, checkpoint: Mapping[str, Any]) -> None:
        """Keep the averages until the cases of the training are known."""
        super().load_checkpoint_extras(checkpoint)
        self._saved_curriculum = checkpoint.get(CHECKPOINT_KEY)

    def _build_loss(self) -> nn.Module:
        return CaseWeightedLoss(super()._build_loss(), self.is_ddp)

    @property
    def _progress(self) -> float:
        return self.current_epoch / self.num_epochs

    def _difficulty(self) -> np.ndarray:
        return self.measurer.by_size() if self._scheduler.holds(self._progress) else self.measurer.by_loss()

    def _weigh(self, cases: np.ndarray) -> Weigh | None:
        """Weights of the samples of a step; None for nnU-Net's own loss."""
        if self.curriculum.strength == 0:
            return None
        if self.curriculum.ranking == "training set":
            weights = torch.as_tensor(self.case_weights[cases], dtype=torch.float32)
            return lambda losses: weights.to(losses.device, non_blocking=True)
        return lambda losses: self._weights_in_batch(cases, losses)

    def _weights_in_batch(self, cases: np.ndarray, losses: Tensor) -> Tensor:
        """Weights of the samples of a step, which are ranked among each other, over all processes.

        A sample that shows no lesion is not ranked and keeps the weight of its case.
        """
        sizes = self.measurer.sizes[cases]
        difficulty = -sizes if self._scheduler.holds(self._progress) else losses.cpu().double().numpy()
        difficulty = np.where(np.isnan(sizes), np.nan, difficulty)
        parts, rank = gathered(difficulty, self.is_ddp)
        first = sum(map(len, parts[:rank]))
        weights = self._scheduler.weights(np.concatenate(parts), self._progress)[first : first + len(cases)]
        weights = np.where(np.isnan(difficulty), self.case_weights[cases], weights)
        return torch.as_tensor(weights, dtype=torch.float32, device=losses.device)

    def _over_processes(self, values: np.ndarray) -> np.ndarray:
        return np.sum(gathered(values, self.is_ddp)[0], axis=0)

    def _lesion_sizes(self) -> dict[str, float]:
        self._datasets = super().get_tr_and_val_datasets()
        training = self._datasets[0]
        counts = LabelCounts(Path(training.source_folder), training.identifiers)
        voxels = counts.of_all(ddp=self.is_ddp, say=lambda line: self.print_to_log_file(f"curriculum: {line}"))
        labels = self.label_manager
        classes = labels.foreground_regions if labels.has_regions else labels.foreground_labels
        sizes = {case: lesion_size(counts, classes, labels.ignore_label) for case, counts in voxels.items()}
        if np.isnan(list(sizes.values())).all():
            raise CurriculumError(
                f"none of the {len(sizes)} training cases of fold {self.fold} has foreground, so there are no lesions "
                "to rank: check the labels in dataset.json and the split, or use a trainer without curriculum."
            )
        return sizes
