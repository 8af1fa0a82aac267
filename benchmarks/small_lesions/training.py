"""One training of the benchmark and its predictions; runs in a process of its own."""

import math
import resource
import time
from collections.abc import Iterator
from typing import Any

import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

from benchmarks.ablation.batches import NumberedBatches, seed_everything
from benchmarks.machine import describe
from benchmarks.small_lesions.budget import Budget
from benchmarks.small_lesions.datasets import Case, Question, Workspace
from benchmarks.small_lesions.scoring import score_class
from nnunetv2_mamba import plugin
from nnunetv2_mamba.evaluation.targets import targets_of
from nnunetv2_mamba.folders.dataset import read_json
from nnunetv2_mamba.training.safety.checkpoint_file import bare_network


def train_and_score(
    workspace: Workspace, dataset: str, *, trainer: str, seed: int, budget: Budget, question: Question, device: str
) -> dict[str, Any]:
    """Train with one seed and score the predictions.

    Args:
        workspace: where the dataset is prepared.
        dataset: its name.
        trainer: name of its class: of this package, of nnU-Net, or in ``nnUNet_extTrainer``.
        seed: of weights, batches and everything else that is random.
        budget: length of the training.
        question: what the network is trained and scored on.
        device: that of PyTorch.

    Raises:
        ArithmeticError: the training loss of an epoch is not finite.
    """
    started, started_cpu = time.perf_counter(), time.process_time()
    instance = _seeded_trainer(
        workspace, dataset, trainer=trainer, seed=seed, budget=budget, question=question, device=device
    )
    instance.run_training()
    trained, trained_cpu = time.perf_counter(), time.process_time()
    curves = {name: _curve(instance, name, budget.epochs) for name in ("train_losses", "val_losses", "mean_fg_dice")}
    if not all(map(math.isfinite, curves["train_losses"])):
        raise ArithmeticError(f"a training loss is not finite: {curves['train_losses']}")
    network = bare_network(instance.network)
    reader = instance.plans_manager.image_reader_writer_class()
    scores = _score(_predictor(instance, budget.tile_step), workspace.cases(dataset, question, reader))
    return {
        "curves": curves,
        "batches": [instance.dataloader_train.first, instance.dataloader_train.last],
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "patch_size": list(map(int, instance.configuration_manager.patch_size)),
        "train_seconds": trained - started,
        "train_cpu_seconds": trained_cpu - started_cpu,
        "predict_seconds": time.perf_counter() - trained,
        "peak_memory_MiB": _peak_memory(device),
        "machine": {key: value for key, value in describe(device.partition(":")[0]).items() if key != "date"},
        "cases": scores,
    }


def _seeded_trainer(
    workspace: Workspace, dataset: str, *, trainer: str, seed: int, budget: Budget, question: Question, device: str
) -> nnUNetTrainer:
    """A trainer whose length, weights and batches are the benchmark's."""
    plugin.expose_trainers()
    ours = trainer in plugin.trainer_names()
    base = plugin.load_trainer(trainer) if ours else recursive_find_trainer_class_by_name(trainer)

    class Seeded(base):
        def get_dataloaders(self) -> tuple[NumberedBatches, NumberedBatches]:
            train, validation = super().get_dataloaders()
            # Different networks have drawn differently many numbers for their weights.
            seed_everything(seed)
            return NumberedBatches(train, 2 * seed), NumberedBatches(validation, 2 * seed + 1)

    Seeded.__name__ = base.__name__
    plans = workspace.plans(dataset, budget) | {"continue_training": False}
    description = read_json(workspace.preprocessed(dataset) / "dataset.json")
    fold = 0 if question == "explore" else "all"
    seed_everything(seed)
    instance = Seeded(plans, workspace.configuration(dataset), fold, description, torch.device(device))
    instance.num_epochs, instance.num_iterations_per_epoch = budget.epochs, budget.iterations
    instance.num_val_iterations_per_epoch = budget.val_iterations
    # Weights of a hundred trainings would fill a disk, and nothing reads them again.
    instance.disable_checkpointing = True
    # Drawing it takes as long as several training steps.
    instance.logger.plot_progress_png = lambda output_folder: None
    return instance


def _predictor(trainer: nnUNetTrainer, tile_step: float) -> nnUNetPredictor:
    network = bare_network(trainer.network)
    trainer.set_deep_supervision_enabled(False)
    network.eval()
    predictor = nnUNetPredictor(tile_step_size=tile_step, use_mirroring=False, device=trainer.device, allow_tqdm=False)
    predictor.manual_initialization(
        network,
        trainer.plans_manager,
        trainer.configuration_manager,
        [network.state_dict()],
        trainer.dataset_json,
        type(trainer).__name__,
        trainer.inference_allowed_mirroring_axes,
    )
    return predictor


def _score(predictor: nnUNetPredictor, cases: Iterator[Case]) -> dict[str, Any]:
    """Scores of each case: its group, and those of each class."""
    targets = targets_of(predictor.dataset_json)
    scores = {}
    for case in cases:
        _, probabilities = predictor.predict_single_npy_array(
            case.image, case.properties, None, None, save_or_return_probabilities=True
        )
        reference, flat = case.reference, case.reference.shape[0] == 1
        spacing = tuple(map(float, case.properties["spacing"]))
        classes = {}
        for target in targets:
            probability, mask = probabilities[target.labels[0]], target.mask(reference)
            if flat:
                probability, mask = probability[0], mask[0]
            classes[target.name] = score_class(probability, mask, spacing[-mask.ndim :])
        scores[case.name] = {"group": case.group, "classes": classes}
    return scores


def _curve(trainer: nnUNetTrainer, name: str, epochs: int) -> list[float]:
    return [float(trainer.logger.get_value(name, epoch)) for epoch in range(epochs)]


def _peak_memory(device: str) -> float:
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
