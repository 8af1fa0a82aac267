"""One training of the ablation and its predictions of the held-out images; runs in a process of its own."""

import importlib
import json
import math
import resource
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import nn

from benchmarks.ablation.batches import NumberedBatches, seed_everything
from benchmarks.ablation.data import CONFIGURATION, Budget, Case, held_out_cases, labels_of
from benchmarks.ablation.rows import HALVES, STOCK, TRAINERS
from benchmarks.ablation.scores import counts_of
from benchmarks.machine import describe
from nnunetv2_mamba.training.safety.checkpoint_file import bare_network


def train_and_score(raw: Path, plans_file: Path, row: str, seed: int, budget: Budget, device: str) -> dict[str, Any]:
    """Train one row with one seed and score it on the held-out images.

    Args:
        raw: folder of the raw dataset.
        plans_file: plans with the budget's patch and batch size, in the folder of the preprocessed dataset.
        row: of `rows.TRAINERS`.
        seed: of weights, batches and everything else that is random.
        budget: length of the training.
        device: that of PyTorch.

    Raises:
        ArithmeticError: the training loss of an epoch is not finite.
    """
    started, started_cpu = time.perf_counter(), time.process_time()
    trainer = _trainer(plans_file, row, seed, budget, device)
    trainer.run_training()
    trained, trained_cpu = time.perf_counter(), time.process_time()
    losses = [float(trainer.logger.get_value("train_losses", epoch)) for epoch in range(budget.epochs)]
    for epoch, loss in enumerate(losses):
        if not math.isfinite(loss):
            raise ArithmeticError(f"the training loss of epoch {epoch} is {loss}")
    network = bare_network(trainer.network)
    cases = list(held_out_cases(raw, trainer.plans_manager.image_reader_writer_class()))
    predictor, labels = _predictor(trainer, network, budget.tile_step), labels_of(raw)
    scores = {"as trained": _score(predictor, cases, labels)}
    gains = {name: gain for name, gain in network.named_parameters() if name.endswith(".gain")}
    values = {name: gain.tolist() for name, gain in gains.items()}
    if gains:
        # With gains of zero the modulated masks vanish, and with them everything that TCMA feeds back.
        for gain in gains.values():
            gain.data.zero_()
        scores["TCMA off"] = _score(predictor, cases, labels)
    return {
        "losses": losses,
        "gains": values,
        "batches": [trainer.dataloader_train.first, trainer.dataloader_train.last],
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "train_seconds": trained - started,
        "train_cpu_seconds": trained_cpu - started_cpu,
        "predict_seconds": time.perf_counter() - trained,
        "peak_memory_MiB": _peak_memory(device),
        "machine": _machine(device),
        "scores": scores,
    }


def trainer_class(row: str) -> type[nnUNetTrainer]:
    """The trainer of a row."""
    name = TRAINERS[row]
    if row == STOCK:
        return nnUNetTrainer
    module = "benchmarks.ablation.halves" if row in HALVES else f"nnunetv2_mamba.trainers.{name}"
    return getattr(importlib.import_module(module), name)


def _trainer(plans_file: Path, row: str, seed: int, budget: Budget, device: str) -> nnUNetTrainer:
    """A trainer of the row's class whose length, seeds and batches the ablation sets."""
    base = trainer_class(row)

    class Seeded(base):
        def get_dataloaders(self) -> tuple[NumberedBatches, NumberedBatches]:
            train, validation = super().get_dataloaders()
            # Networks of different rows have drawn differently many numbers for their weights.
            seed_everything(seed)
            return NumberedBatches(train, 2 * seed), NumberedBatches(validation, 2 * seed + 1)

    Seeded.__name__ = base.__name__
    plans = json.loads(plans_file.read_text()) | {"continue_training": False}
    dataset = json.loads((plans_file.parent / "dataset.json").read_text())
    seed_everything(seed)
    trainer = Seeded(plans, CONFIGURATION, "all", dataset, torch.device(device))
    trainer.num_epochs, trainer.num_iterations_per_epoch = budget.epochs, budget.iterations
    # nnU-Net wants at least one; on fold "all" it sees training cases, and nothing is chosen by it.
    trainer.num_val_iterations_per_epoch = 1
    # Weights of fifty trainings would fill a disk, and nothing here reads them again.
    trainer.disable_checkpointing = True
    # Drawing it costs as much as a training step, after each of a few.
    trainer.logger.plot_progress_png = lambda output_folder: None
    return trainer


def _predictor(trainer: nnUNetTrainer, network: nn.Module, tile_step: float) -> nnUNetPredictor:
    """Predicts with the network in the trainer, final weights and all."""
    trainer.set_deep_supervision_enabled(False)
    network.eval()
    predictor = nnUNetPredictor(tile_step_size=tile_step, use_mirroring=False, device=trainer.device, allow_tqdm=False)
    predictor.manual_initialization(
        network,
        trainer.plans_manager,
        trainer.configuration_manager,
        # It loads these before each image: the very tensors of the network, so that changes to them count.
        [network.state_dict()],
        trainer.dataset_json,
        type(trainer).__name__,
        trainer.inference_allowed_mirroring_axes,
    )
    return predictor


def _score(predictor: nnUNetPredictor, cases: Iterable[Case], labels: dict[str, int]) -> dict[str, Any]:
    """Counts by case and class."""
    scores = {}
    for case in cases:
        # Images of two dimensions have a leading axis of one slice.
        predicted, reference = predictor.predict_single_npy_array(case.image, case.properties)[0], case.reference[0]
        scores[case.name] = {name: counts_of(reference == label, predicted == label) for name, label in labels.items()}
    return scores


def _peak_memory(device: str) -> float:
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def _machine(device: str) -> dict[str, Any]:
    machine = {key: value for key, value in describe().items() if key != "date"}
    return machine | {"device": torch.cuda.get_device_name() if device.startswith("cuda") else machine["cpu"]}
