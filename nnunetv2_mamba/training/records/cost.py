"""The cost of a training: size of the network, time of an epoch, peak memory of the GPU."""

import dataclasses
import json
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path
from statistics import median
from typing import Any

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from torch import distributed

from nnunetv2_mamba.files import COST_FILE, written_aside
from nnunetv2_mamba.training.records.epoch_log import log_epoch_value
from nnunetv2_mamba.training.safety.checkpoint_file import bare_network

PEAK_MEMORY = "peak_memory_bytes"
"""Curve in nnU-Net's logger: peak memory that torch allocated on the GPU in the training steps of an epoch."""

BATCH_NORM_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class Cost:
    """Content of ``cost.json`` in the folder of a fold.

    Attributes:
        trainer: name of its class.
        network: dotted name of its class; None if it is only known from a checkpoint, which does not contain the name.
        parameters: number of parameters of the network.
        epochs: number of trained epochs, including those before a resumption.
        iterations_per_epoch: training steps; None where unknown.
        batch_size: samples in a step, over all GPUs.
        patch_size: of a sample in voxels.
        epoch_seconds: median wall-clock time of an epoch with its validation patches. The first of several epochs is
            left out, because it includes compilation and warm-up.
        peak_memory_bytes: peak memory that torch allocated in training steps, on one GPU; None without a CUDA GPU, and
            where it was not logged.
        processes: number of processes, one for each GPU; None where unknown.
        device: ``cpu``, or ``cuda: NAME``.
        torch: its version.
    """

    trainer: str
    network: str | None
    parameters: int
    epochs: int
    iterations_per_epoch: int | None
    batch_size: int
    patch_size: list[int]
    epoch_seconds: float | None
    peak_memory_bytes: int | None
    processes: int | None
    device: str | None
    torch: str | None

    def write(self, fold_folder: Path) -> None:
        """Write ``cost.json`` into the folder of a fold, whole or not at all."""
        with written_aside(fold_folder / COST_FILE) as aside:
            aside.write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n")

    @classmethod
    def of_trainer(cls, trainer: nnUNetTrainer) -> "Cost":
        """Cost of the training that a trainer has just ended."""
        network = bare_network(trainer.network)
        curves = trainer.logger.local_logger.my_fantastic_logging
        return cls(
            trainer=type(trainer).__name__,
            network=_dotted_name(network),
            parameters=sum(parameter.numel() for parameter in network.parameters()),
            epochs=len(curves["epoch_end_timestamps"]),
            iterations_per_epoch=trainer.num_iterations_per_epoch,
            batch_size=trainer.configuration_manager.batch_size,
            patch_size=[int(length) for length in trainer.configuration_manager.patch_size],
            epoch_seconds=_epoch_seconds(curves),
            peak_memory_bytes=_greatest(curves.get(PEAK_MEMORY, ())),
            processes=distributed.get_world_size() if trainer.is_ddp else 1,
            device=_device_name(trainer.device.type, lambda: torch.cuda.get_device_name(trainer.device)),
            torch=torch.__version__,
        )

    @classmethod
    def of_fold(cls, fold_folder: Path, network: str | None = None) -> "Cost | None":
        """Cost as far as it can be read from nnU-Net's own files, for any trainer.

        Parameters are counted from the tensors of the checkpoint, each once and without BatchNorm's statistics. Other
        buffers are counted too, so that the number can be a little too large.

        Args:
            fold_folder: ``fold_X`` of a trained model.
            network: dotted name of its class, if known.

        Returns:
            None if there is no ``checkpoint_final.pth``.
        """
        try:
            # Memory-mapped, so that the weights are not read.
            checkpoint = torch.load(
                fold_folder / "checkpoint_final.pth", map_location="cpu", mmap=True, weights_only=False
            )
        except FileNotFoundError:
            return None
        file = fold_folder / "debug.json"
        debug = json.loads(file.read_text()) if file.exists() else {}
        curves, start = checkpoint["logging"], checkpoint["init_args"]
        configuration = PlansManager(start["plans"]).get_configuration(start["configuration"])
        iterations = debug.get("num_iterations_per_epoch")
        return cls(
            trainer=checkpoint["trainer_name"],
            network=network,
            parameters=_count_parameters(checkpoint["network_weights"]),
            epochs=len(curves["epoch_end_timestamps"]),
            iterations_per_epoch=None if iterations is None else int(iterations),
            batch_size=configuration.batch_size,
            patch_size=[int(length) for length in configuration.patch_size],
            epoch_seconds=_epoch_seconds(curves),
            peak_memory_bytes=_greatest(curves.get(PEAK_MEMORY, ())),
            processes=None,
            device=_device_name(debug["device"].partition(":")[0], lambda: debug["gpu_name"]) if debug else None,
            torch=debug.get("torch_version"),
        )


class CostMixin(nnUNetTrainer):
    """Lets a trainer log its peak memory and write `Cost`: ``class T(CostMixin, SomeTrainer)``."""

    local_rank: int
    output_folder: str

    def on_train_epoch_start(self) -> None:
        """Reset the peak memory."""
        super().on_train_epoch_start()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)

    def on_train_epoch_end(self, train_outputs: list[dict]) -> None:
        """Log the peak memory of the epoch."""
        super().on_train_epoch_end(train_outputs)
        peak = torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else nan
        # Logged without a GPU too, because nnU-Net draws all curves only up to the end of the shortest one.
        log_epoch_value(self, PEAK_MEMORY, peak)

    def on_train_end(self) -> None:
        """Write ``cost.json`` once nnU-Net has written the last checkpoint."""
        super().on_train_end()
        if self.local_rank == 0:
            self._write_cost(lambda: Cost.of_trainer(self))

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """Stock validation; also writes ``cost.json`` if an older training has none."""
        super().perform_actual_validation(save_probabilities)
        folder = Path(self.output_folder)
        if self.local_rank == 0 and not (folder / COST_FILE).exists():
            self._write_cost(lambda: Cost.of_fold(folder, _dotted_name(bare_network(self.network))))

    def _write_cost(self, cost_of: Callable[[], Cost | None]) -> None:
        try:
            if (cost := cost_of()) is not None:
                cost.write(Path(self.output_folder))
        # The training is complete: an error here must not make it end as failed.
        except Exception:
            self.print_to_log_file(
                f"{traceback.format_exc()}\n{COST_FILE} was not written for the reason above; the training is complete"
            )


def _dotted_name(network: torch.nn.Module) -> str:
    return f"{type(network).__module__}.{type(network).__qualname__}"


def _device_name(kind: str, gpu_name: Callable[[], str]) -> str:
    return f"{kind}: {gpu_name()}" if kind == "cuda" else kind


def _epoch_seconds(curves: Mapping[str, Sequence[float]]) -> float | None:
    # Interrupted epochs have a start and no end.
    pairs = zip(curves["epoch_start_timestamps"], curves["epoch_end_timestamps"], strict=False)
    seconds = [float(end - start) for start, end in pairs]
    return median(seconds[1:] or seconds) if seconds else None


def _greatest(values: Sequence[float]) -> int | None:
    known = [int(value) for value in values if not isnan(value)]
    return max(known, default=None)


def _count_parameters(weights: Mapping[str, Any]) -> int:
    # nnU-Net's own networks have the same tensors under several names.
    distinct = {
        (tensor.data_ptr(), tensor.shape): tensor.numel()
        for name, tensor in weights.items()
        if name.rpartition(".")[2] not in BATCH_NORM_BUFFERS
    }
    return sum(distinct.values())
