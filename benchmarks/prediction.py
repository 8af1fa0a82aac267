"""Prediction of every network next to nnU-Net's own: nnU-Net's sliding window with mirroring, on the same plan.

The predictor is nnU-Net's, with what it predicts with by default: tiles that overlap by half, mirrored along all axes,
weighted by a Gaussian. The image is so large that it takes four tiles in 2-D (two in 3-D), each as often as there are
mirrorings. On the CPU it is float32 with torch's number of threads, on a GPU nnU-Net's autocast.
"""

from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from torch import Tensor

from benchmarks.machine import Goal, Options, Table, goals_table, in_turn
from benchmarks.networks import (
    PLAIN,
    RESIDUAL,
    S3MAMBA,
    SETTINGS,
    Setting,
    make_network,
    make_trainer,
    network_of,
    one_of_each_network,
    trainer_classes,
    workspace,
)
from benchmarks.processes import in_fresh_process

AIM = 1.5
SIZES = {"2d": (384, 384), "3d": (40, 56, 60)}


def measure(options: Options) -> dict[str, Any]:
    """Seconds of the prediction of an image and the ratio to nnU-Net's U-Net; by setting."""
    settings = {"2d": (Setting("2d", (32, 32)), (48, 48))} if options.quick else _settings()
    figures = {
        name: in_fresh_process(measure_setting, setting, size, options.device)
        for name, (setting, size) in settings.items()
    }
    targets = [
        Goal(f"S3-Mamba's prediction over {PLAIN}'s, {name}", found["networks"][S3MAMBA]["over_plain"], "<=", AIM)
        for name, found in figures.items()
    ]
    return {"settings": figures, "targets": [asdict(target) for target in targets]}


def _settings() -> dict[str, tuple[Setting, tuple[int, ...]]]:
    return {name: (SETTINGS[name], size) for name, size in SIZES.items()}


def measure_setting(setting: Setting, size: tuple[int, ...], device: str) -> dict[str, Any]:
    """Figures of all networks on one plan; for a process of its own.

    Args:
        setting: what there is to plan for.
        size: of the image, in pixels.
        device: torch device type.
    """
    image = torch.randn(setting.channels, *size, generator=torch.Generator().manual_seed(0))
    image = image[:, None] if image.ndim == 3 else image  # nnU-Net's images have three axes, the first is the slice
    runs = {}
    with workspace(setting):
        for name in one_of_each_network():
            predictor = _predictor(name, setting, device)
            runs[name] = partial(_predict, predictor, image)
        patch_size = list(predictor.configuration_manager.patch_size)
        seconds = in_turn(runs, 2, device)
    users = {name: [other for other in trainer_classes() if network_of(other) == network_of(name)] for name in runs}
    networks = {
        name: {"seconds": seconds[name], "over_plain": seconds[name] / seconds[PLAIN], "trainers": users[name]}
        for name in runs
    }
    return {"patch_size": patch_size, "image_size": list(size), "networks": networks}


def _predictor(name: str, setting: Setting, device: str) -> nnUNetPredictor:
    trainer = make_trainer(name, setting, device)
    network = make_network(name, setting, False, device).eval()
    predictor = nnUNetPredictor(device=torch.device(device), allow_tqdm=False)
    axes = tuple(range(len(setting.shape)))
    predictor.manual_initialization(
        network, trainer.plans_manager, trainer.configuration_manager, None, setting.dataset_json, name, axes
    )
    return predictor


def _predict(predictor: nnUNetPredictor, image: Tensor) -> Tensor:
    with torch.inference_mode():
        return predictor.predict_sliding_window_return_logits(image)


def tables(results: dict[str, Any]) -> list[Table]:
    """The tables of kept figures."""
    found = [goals_table(results["targets"])]
    for name, figures in results["settings"].items():
        image, tile = ("x".join(map(str, figures[key])) for key in ("image_size", "patch_size"))
        rows = [("network", "seconds", f"over {PLAIN}", "trainers")]
        for network, row in figures["networks"].items():
            users = [trainer for trainer in row["trainers"] if trainer not in (PLAIN, RESIDUAL)]
            users += ["nnUNetTrainer"] if network in (PLAIN, RESIDUAL) else []
            label = network.removeprefix("nnUNetTrainer")
            rows.append((label, f"{row['seconds']:.2f}", f"{row['over_plain']:.2f}", ", ".join(sorted(users))))
        found.append(Table(f"{name}: prediction of an image of {image} in mirrored tiles of {tile}", rows))
    return found
