"""The stock trainer with safety checks for trainings of several days; the training itself stays nnU-Net's."""

from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import distributed

from nnunetv2_mamba.training.recipe.autocast import autocast_dtype, autocast_in, loss_in_float32
from nnunetv2_mamba.training.records.cost import CostMixin
from nnunetv2_mamba.training.records.epoch_log import forget_current_epoch, log_epoch_value
from nnunetv2_mamba.training.records.lesion_report import LesionReportMixin
from nnunetv2_mamba.training.safety.checkpoint_file import bare_network
from nnunetv2_mamba.training.safety.finite import require_finite
from nnunetv2_mamba.training.safety.gradient_guard import GradientGuard, TrainingDivergedError
from nnunetv2_mamba.training.safety.out_of_memory import describe_need, out_of_memory_explained
from nnunetv2_mamba.training.safety.safe_checkpoint import LATEST, SafeCheckpointMixin
from nnunetv2_mamba.training.settings import AUTOCAST_VARIABLE, QuickRun


class RobustTrainer(LesionReportMixin, CostMixin, SafeCheckpointMixin, nnUNetTrainer):
    """Base of our trainers: network, loss, optimizer and schedule are nnU-Net's unless a subclass changes them.

    While every loss and gradient is finite and no ``NNUNETV2_MAMBA_*`` variable is set, its weights are those of the
    stock trainer, bit for bit. A subclass defines no constructor, or one with the stock signature, because nnU-Net
    records the arguments by name.

    Attributes:
        max_grad_norm: gradients are clipped to this L2 norm. nnU-Net clips at 12 before that, so larger values have no
            effect. None keeps only nnU-Net's clipping.
        max_skipped_steps: training stops after this many skipped steps in a row. Under float16 up to 16 are normal at
            the start, because GradScaler starts at a scale of 65536 and halves it at each overflow. More than that mean
            that the training has diverged.
        gradient_guard: counts the skipped steps; `initialize` sets it.
    """

    max_grad_norm: float | None = None
    max_skipped_steps: int = 25

    batch_size: int
    num_epochs: int
    num_iterations_per_epoch: int
    num_val_iterations_per_epoch: int
    gradient_guard: GradientGuard
    _autocast_dtype: torch.dtype | None

    def initialize(self) -> None:
        """Build everything that training needs.

        Raises:
            ValueError: an ``NNUNETV2_MAMBA_*`` variable has an invalid value, or one that this device does not support.
        """
        quick_run = QuickRun.from_environment()
        self.num_epochs = quick_run.epochs or self.num_epochs
        self.num_iterations_per_epoch = quick_run.iterations or self.num_iterations_per_epoch
        self.num_val_iterations_per_epoch = quick_run.val_iterations or self.num_val_iterations_per_epoch
        self._autocast_dtype = autocast_dtype(self.device, len(self.configuration_manager.patch_size))
        super().initialize()
        if self._autocast_dtype is not None:
            # bfloat16 has the range of float32, so the loss needs no scaling.
            scaled = self._autocast_dtype is torch.float16
            self.grad_scaler = torch.amp.GradScaler(self.device.type) if scaled else None
            if self.device.type == "cpu":
                self.loss.register_forward_pre_hook(loss_in_float32)
        self.gradient_guard = GradientGuard(
            bare_network(self.network), self.optimizer, self.loss, max_grad_norm=self.max_grad_norm
        )

    def train_step(self, batch: dict) -> dict:
        """One stock training step; a step whose loss or gradient is not finite changes nothing.

        Raises:
            ValueError: a case of the batch has NaN or infinite values.
            TrainingDivergedError: `max_skipped_steps` steps in a row were skipped; the state before them was saved.
            TrainingOutOfMemoryError: there is not enough memory; checkpoints are not changed.
        """
        require_finite(batch)
        with self._memory_explained(), self.gradient_guard.step(), autocast_in(self._autocast_dtype, self.device):
            result = super().train_step(batch)
        if self.gradient_guard.in_a_row >= self.max_skipped_steps:
            self._stop()
        return result

    def validation_step(self, batch: dict) -> dict:
        """One stock validation step.

        Raises:
            ValueError: a case of the batch has NaN or infinite values.
            TrainingOutOfMemoryError: there is not enough memory; checkpoints are not changed.
        """
        require_finite(batch)
        with self._memory_explained(), autocast_in(self._autocast_dtype, self.device):
            return super().validation_step(batch)

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """Stock prediction of the validation cases."""
        with autocast_in(self._autocast_dtype, self.device):
            super().perform_actual_validation(save_probabilities)

    def on_train_epoch_end(self, train_outputs: list[dict]) -> None:
        """Log the mean of the finite losses, and how many steps were skipped."""
        super().on_train_epoch_end(_without_non_finite(train_outputs))
        skipped, self.gradient_guard.in_epoch = self.gradient_guard.in_epoch, 0
        log_epoch_value(self, "skipped_steps", skipped, before=0)
        if skipped:
            self.print_to_log_file(
                f"{skipped} of {len(train_outputs)} training steps were skipped, their loss or gradient was not finite"
            )

    def memory_remedies(self) -> list[str]:
        """Ways to lower the memory of a training step, best first; each is a clause of a sentence."""
        smaller = self.batch_size // 2
        return [f'train with "batch_size": {smaller} in a copy of the plans file'] if smaller else []

    def _memory_explained(self) -> AbstractContextManager[None]:
        return out_of_memory_explained(self._out_of_memory)

    def _out_of_memory(self) -> str:
        remedies = ", or ".join(self.memory_remedies()) or "use a GPU with more memory"
        latest = Path(self.output_folder, LATEST)
        kept = f"; {latest} is not changed, and --c goes on with it" if latest.is_file() else ""
        return f"out of memory: {describe_need(self, bare_network(self.network))}: {remedies}{kept}."

    def _stop(self) -> None:
        steps, epoch = self.gradient_guard.in_a_row, self.current_epoch
        problem = f"{steps} training steps in a row had a loss or gradient that was not finite"
        state = bare_network(self.network).state_dict().values()
        if not all(torch.isfinite(tensor).all() for tensor in state):
            raise TrainingDivergedError(
                f"{problem}, and the weights are not finite either: go on with an earlier checkpoint, or start again."
            )
        if self.grad_scaler is not None:
            # Each of these steps has lowered the scale, which would take thousands of steps to grow again.
            backoff = self.grad_scaler.get_backoff_factor()
            self.grad_scaler.update(new_scale=self.grad_scaler.get_scale() / backoff**steps)
        forget_current_epoch(self)
        self.save_latest(next_epoch=epoch)
        if self.is_ddp:
            # When the first process fails, the others are killed, and rank 0 may still be writing.
            distributed.barrier()
        kept = "checkpoints are disabled" if self.disable_checkpointing else f"{LATEST} holds the state before them"
        go_on = "start again" if self.disable_checkpointing else f"go on with epoch {epoch} by --c"
        raise TrainingDivergedError(
            f"{problem}: {kept}; lower the learning rate, or set {AUTOCAST_VARIABLE}=bfloat16 if this was float16, "
            f"and {go_on}."
        )


def _without_non_finite(outputs: list[dict]) -> list[dict]:
    """Replace each loss that is not finite by the mean of the finite losses, which does not change their mean."""
    losses = np.array([output["loss"] for output in outputs])
    finite = np.isfinite(losses)
    # The number of outputs must not change, because under DDP nnU-Net stacks the outputs of all ranks.
    if finite.all() or not finite.any():
        return outputs
    mean = losses[finite].mean(keepdims=True)[0]
    return [o if ok else {**o, "loss": np.asarray(mean)} for o, ok in zip(outputs, finite, strict=True)]
