"""What the curriculum says of itself each epoch, through nnU-Net's logger, and the figure of it."""

from math import nan
from pathlib import Path

import numpy as np
from matplotlib import style
from matplotlib.figure import Figure
from nnunetv2.training.logging.nnunet_logger import MetaLogger
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunetv2_mamba.training.curriculum.difficulty import size_thirds
from nnunetv2_mamba.training.curriculum.scheduler import effective_sample_size
from nnunetv2_mamba.training.epoch_log import log_epoch_value

PACING = "curriculum_pacing"
WEIGHTS = "curriculum_weights"
SAMPLE_SIZE = "curriculum_effective_sample_size"
LOSSES = "curriculum_loss_by_lesion_size"

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
THIRDS = ("small", "medium", "large")


def log_epoch(trainer: nnUNetTrainer, pacing: float, weights: np.ndarray, losses: np.ndarray, sizes: np.ndarray) -> str:
    """Log the current epoch.

    Args:
        trainer: whose logger gets it.
        pacing: tau.
        weights: v of each case (N,).
        losses: mean loss of each case in this epoch (N,), NaN for those not visited.
        sizes: of the lesions (N,), NaN for cases without any.

    Returns:
        A line for people.
    """
    thirds = size_thirds(sizes)
    by_third = [_mean(losses[thirds == third]) for third in range(len(THIRDS))]
    quantiles = [float(value) for value in np.quantile(weights, QUANTILES)]
    sample_size = effective_sample_size(weights)
    log_epoch_value(trainer, PACING, pacing)
    log_epoch_value(trainer, WEIGHTS, quantiles, before=[nan] * len(QUANTILES))
    log_epoch_value(trainer, SAMPLE_SIZE, sample_size)
    log_epoch_value(trainer, LOSSES, by_third, before=[nan] * len(THIRDS))
    return (
        f"curriculum: pacing {pacing:.2f}, weights {quantiles[0]:.2f} to {quantiles[-1]:.2f}, "
        f"effective sample size {sample_size:.1f} of {len(weights)}, loss of "
        + ", ".join(f"{name} {value:.4f}" for name, value in zip(THIRDS, by_third, strict=True))
        + " lesions"
    )


def plot(logger: MetaLogger, path: Path, n_cases: int) -> None:
    """Draw all epochs so far into a PNG file, aside first, so that it is never half there.

    Args:
        logger: the trainer's.
        path: of the file.
        n_cases: training cases, the largest possible effective sample size.
    """
    # nnU-Net's own plot leaves its huge fonts behind.
    with style.context("default"):
        figure = _figure(logger, n_cases)
        aside = path.with_name(f".{path.name}.partial")
        figure.savefig(aside, format="png", dpi=100)
    aside.replace(path)


def _figure(logger: MetaLogger, n_cases: int) -> Figure:
    pacing, weights, sample_size, losses = (
        np.array(logger.get_value(key, None), dtype=float) for key in (PACING, WEIGHTS, SAMPLE_SIZE, LOSSES)
    )
    epochs = np.arange(len(pacing))
    figure = Figure(figsize=(9, 9), layout="constrained")
    weight_axes, size_axes, loss_axes = figure.subplots(3, sharex=True, height_ratios=(2, 1, 2))
    weight_axes.fill_between(epochs, weights[:, 0], weights[:, -1], color="tab:blue", alpha=0.2, label="all cases")
    weight_axes.fill_between(epochs, weights[:, 1], weights[:, 3], color="tab:blue", alpha=0.4, label="middle half")
    weight_axes.plot(epochs, weights[:, 2], color="tab:blue", label="median")
    weight_axes.plot(epochs, pacing, color="black", linestyle="--", label="pacing: 0 easy first, 1 hard first")
    weight_axes.set(ylim=(-0.02, 1.02), ylabel="weight v")
    size_axes.plot(epochs, sample_size, color="tab:green", label="effective sample size")
    size_axes.axhline(n_cases, color="gray", linestyle=":", label="training cases")
    size_axes.set(ylim=(0, 1.1 * n_cases), ylabel="cases")
    for name, values, colour in zip(THIRDS, losses.T, ("tab:red", "tab:orange", "tab:purple"), strict=True):
        loss_axes.plot(epochs, values, color=colour, marker=".", label=f"third of {name} lesions")
    loss_axes.set(xlabel="epoch", ylabel="loss, patches with lesions")
    for axes in (weight_axes, size_axes, loss_axes):
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize="small")
        axes.grid(alpha=0.3)
    return figure


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else nan
