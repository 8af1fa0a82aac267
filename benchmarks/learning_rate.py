"""``python -m benchmarks.learning_rate DEMO``: what learning rate suits training from scratch, by validation Dice.

DEMO is a folder in which ``nnUNetv2_mamba demo`` has run: its preprocessed images and its split by eye are used. Only
the validation eyes of fold 0 are looked at, never the held-out ones.
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import report

EPOCHS, ITERATIONS, VAL_ITERATIONS = 16, 20, 4
LAST_EPOCHS = 4


def train(trainer_name: str, rate: float, preprocessed: Path) -> dict[str, Any]:
    """Train fold 0 with one rate; the same seed and length for every rate.

    Args:
        trainer_name: one of our trainers.
        rate: highest learning rate.
        preprocessed: nnU-Net's folder of the dataset.

    Returns:
        Training loss of the last epoch, Dice of each class over the patches of the last epochs, Dice over all pixels
        of the validation images, and seconds.
    """
    from nnunetv2_mamba.plugin import load_trainer

    base = load_trainer(trainer_name)
    subclass = type(f"{trainer_name}_{rate:g}", (base,), {"initial_lr": rate})
    plans = json.loads((preprocessed / "nnUNetPlans.json").read_text()) | {"continue_training": False}
    dataset = json.loads((preprocessed / "dataset.json").read_text())
    torch.manual_seed(0)
    trainer = subclass(plans, "2d", 0, dataset, torch.device("cpu"))
    started = time.perf_counter()
    trainer.run_training()
    trainer.perform_actual_validation(False)
    summary = json.loads((Path(trainer.output_folder) / "validation" / "summary.json").read_text())
    log = trainer.logger
    patches = [log.get_value("dice_per_class_or_region", step) for step in range(EPOCHS - LAST_EPOCHS, EPOCHS)]
    return {
        "train_loss": float(log.get_value("train_losses", EPOCHS - 1)),
        "patch_dice": [sum(map(float, values)) / len(values) for values in zip(*patches, strict=True)],
        "image_dice": [_pooled_dice(summary, label) for label in summary["mean"]],
        "seconds": time.perf_counter() - started,
    }


def _pooled_dice(summary: dict[str, Any], label: str) -> float:
    """Dice over the pixels of all cases together."""
    TP, FP, FN = (sum(case["metrics"][label][key] for case in summary["metric_per_case"]) for key in ("TP", "FP", "FN"))
    return 2 * TP / max(2 * TP + FP + FN, 1)


def main() -> None:
    """Train once for each rate and report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("demo", type=Path, help="folder of a finished nnUNetv2_mamba demo")
    parser.add_argument("--trainer", default="nnUNetTrainerS3Mamba")
    parser.add_argument("--rates", type=float, nargs="+", default=[3e-4, 1e-3, 2e-3])
    arguments = parser.parse_args()
    folders = {name: arguments.demo / name for name in ("nnUNet_raw", "nnUNet_preprocessed")}
    os.environ.update({name: str(folder) for name, folder in folders.items()})
    os.environ["nnUNet_results"] = str(arguments.demo / "learning_rates")
    lengths = {"EPOCHS": EPOCHS, "ITERATIONS": ITERATIONS, "VAL_ITERATIONS": VAL_ITERATIONS}
    os.environ.update({f"NNUNETV2_MAMBA_{name}": str(length) for name, length in lengths.items()})
    os.environ.update({"nnUNet_n_proc_DA": "1", "nnUNet_def_n_proc": "1"})
    (dataset,) = folders["nnUNet_preprocessed"].iterdir()
    results = {f"{rate:g}": train(arguments.trainer, rate, dataset) for rate in arguments.rates}
    rows = [("rate", "train loss", f"patch Dice, last {LAST_EPOCHS} epochs", "Dice over all validation pixels")]
    for rate, figures in results.items():
        patch, image = (" / ".join(f"{value:.3f}" for value in figures[key]) for key in ("patch_dice", "image_dice"))
        rows.append((rate, f"{figures['train_loss']:.3f}", patch, image))
    report(f"learning_rate_{arguments.trainer}", {"steps": EPOCHS * ITERATIONS, "rates": results}, rows)


if __name__ == "__main__":
    main()
