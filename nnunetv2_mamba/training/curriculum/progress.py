"""Logs the curriculum of each epoch through nnU-Net's logger, and draws it."""

from math import nan
from pathlib import Path

import numpy as np
from matplotlib import style
from matplotlib.figure import Figure
from nnunetv2.training.logging.nnunet_logger import MetaLogger
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunetv2_mamba.files import written_aside
from nnunetv2_mamba.training.curriculum.difficulty import size_thirds
from nnunetv2_mamba.training.curriculum.scheduler import effective_sample_size
from nnunetv2_mamba.training.records.epoch_log import log_epoch_value

PACING = "curriculum_pacing"
SAMPLE_SIZE = "curriculum_effective_sample_size"
WEIGHTS = {
    f"curriculum_weight_{name}": share
    for name, share in (("min", 0.0), ("lower_quartile", 0.25), ("median", 0.5), ("upper_quartile", 0.75), ("max", 1.0))
}
"""Curves of the distribution of the weights, and the quantile of each."""

THIRDS = ("small", "medium", "large")
LOSSES = tuple(f"curriculum_loss_{name}_lesions" for name in THIRDS)
CURVES = (PACING, SAMPLE_SIZE, *WEIGHTS, *LOSSES)


def log_epoch(
    trainer: nnUNetTrainer, *, pacing: float, weights: np.ndarray, losses: np.ndarray, sizes: np.ndarray
) -> str:
    """Log the current epoch.

    Args:
        trainer: owner of the logger.
        pacing: tau.
        weights: v of each case (N,).
        losses: mean loss of each case in this epoch (N,), NaN for those not visited.
        sizes: of the lesions (N,), NaN for cases without any.

    Returns:
        A line for the log file.
    """
    thirds = size_thirds(sizes)
    by_third = [_mean(losses[thirds == third]) for third in range(len(THIRDS))]
    quantiles = [float(value) for value in np.quantile(weights, list(WEIGHTS.values()))]
    sample_size = effective_sample_size(weights)
    for key, value in zip(CURVES, (pacing, sample_size, *quantiles, *by_third), strict=True):
        log_epoch_value(trainer, key, value)
    return (
        f"curriculum: pacing {pacing:.2f}, weights {quantiles[0]:.2f} to {quantiles[-1]:.2f}, "
        f"effective sample size {sample_size:.1f} of {len(weights)}, loss of "
        + ", ".join(f"{name} {value:.4f}" for name, value in zip(THIRDS, by_third, strict=True))
        + " lesions"
    )


def plot(logger: MetaLogger, path: Path, n_cases: int) -> None:
    """Draw all epochs so far into a PNG file.

    Args:
        logger: logger of the trainer.
        path: of the file.
        n_cases: training cases, the largest possible effective sample size.
    """
    # nnU-Net's own plot does not reset its large fonts.
    with style.context("default"), written_aside(path) as aside:
        _figure(logger, n_cases).savefig(aside, format="png", dpi=100)


def _figure(logger: MetaLogger, n_cases: int) -> Figure:
    curves = {key: np.array(logger.get_value(key, None), dtype=float) for key in CURVES}
    least, low, median, high, greatest = (curves[key] for key in WEIGHTS)
    epochs = np.arange(len(median))
    figure = Figure(figsize=(9, 9), layout="constrained")
    weight_axes, size_axes, loss_axes = figure.subplots(3, sharex=True, height_ratios=(2, 1, 2))
    weight_axes.fill_between(epochs, least, greatest, color="tab:blue", alpha=0.2, label="all cases")
    weight_axes.fill_between(epochs, low, high, color="tab:blue", alpha=0.4, label="middle half")
    weight_axes.plot(epochs, median, color="tab:blue", label="median")
    weight_axes.plot(epochs, curves[PACING], color="black", linestyle="--", label="pacing: 0 easy first, 1 hard first")
    weight_axes.set(ylim=(-0.02, 1.02), ylabel="weight v")
    size_axes.plot(epochs, curves[SAMPLE_SIZE], color="tab:green", label="effective sample size")
    size_axes.axhline(n_cases, color="gray", linestyle=":", label="training cases")
    size_axes.set(ylim=(0, 1.1 * n_cases), ylabel="cases")
    for name, key, colour in zip(THIRDS, LOSSES, ("tab:red", "tab:orange", "tab:purple"), strict=True):
        loss_axes.plot(epochs, curves[key], color=colour, marker=".", label=f"third of {name} lesions")
    loss_axes.set(xlabel="epoch", ylabel="loss, patches with lesions")
    for axes in (weight_axes, size_axes, loss_axes):
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize="small")
        axes.grid(alpha=0.3)
    return figure


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else nan
