"""Cost against image size: time and memory of one network from 64x64 to 1024x1024 pixels, and the fitted exponents.

The network is the same for all sizes: that of nnU-Net's plan for 128x128 in 2-D and for 64x64x64 in 3-D; batches of
one. The exponent is the slope of log time over log pixels, by least squares; one means a cost linear in the number of
pixels. Small images cost more a pixel, because what does not depend on the size (launching operations, reading weights,
the optimizer) is all there is: the slope over all sizes flatters, that over the upper half says more. The target is
judged by the larger of both.
"""

import math
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.machine import MIB, Goal, Options, Table, goals_table, in_turn
from benchmarks.networks import PLAIN, S3MAMBA, Setting, make_network, workspace
from benchmarks.processes import extra_memory, in_fresh_process

AIM = 1.1
NETWORKS = (PLAIN, S3MAMBA)
LONG = 1.0
"""Seconds from which on one run is enough, after the one that measures memory."""
PASSES = ("inference", "training")
SETTINGS = {
    "2d": (Setting("2d", (128, 128), channels=3), (64, 128, 256, 512, 1024)),
    "3d": (Setting("3d_fullres", (64, 64, 64)), (32, 48, 64, 96)),
}
"""What to plan for, and the sides of the images."""


def measure(options: Options) -> dict[str, Any]:
    """Seconds and extra bytes of one image, inference and training step, by setting, network and size; exponents."""
    settings = {"2d": (Setting("2d", (32, 32)), (32, 64))} if options.quick else SETTINGS
    figures: dict[str, Any] = {}
    for name, (setting, sides) in settings.items():
        cost: dict[str, dict[str, Any]] = {network: {} for network in NETWORKS}
        for network, rows in cost.items():
            for side in sides:
                rows[str(side)] = found = in_fresh_process(cost_of, network, setting, side, options.device)
                print(f"{network}, {name}, {side}: {found['training_seconds']:.3f} s a training step", flush=True)
        pixels = [side ** len(setting.shape) for side in sides]
        exponents = {
            network: {
                pass_: exponents_of(pixels, [row[f"{pass_}_seconds"] for row in rows.values()]) for pass_ in PASSES
            }
            for network, rows in cost.items()
        }
        figures[name] = {"axes": len(setting.shape), "cost": cost, "exponents": exponents}
    targets = [
        Goal(f"exponent of S3-Mamba's {pass_} time, {name}", max(found["exponents"][S3MAMBA][pass_]), "<=", AIM)
        for name, found in figures.items()
        for pass_ in PASSES
    ]
    return {"settings": figures, "targets": [asdict(target) for target in targets]}


def cost_of(name: str, setting: Setting, side: int, device: str) -> dict[str, Any]:
    """Figures of one square or cubic image; for a process of its own."""
    with workspace(setting):
        network = make_network(name, setting, True, device)
    image = torch.randn(1, setting.channels, *[side] * len(setting.shape), device=device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    runs = {"training": partial(_train, network, optimizer, image), "inference": partial(_infer, network, image)}
    figures: dict[str, Any] = {}
    for pass_, run in runs.items():
        run()
        figures[f"{pass_}_bytes"], seconds = extra_memory(run, device)
        rounds = 0 if seconds > LONG else 1
        figures[f"{pass_}_seconds"] = in_turn({pass_: run}, rounds, device, seconds_a_round=LONG)[pass_]
    return figures


def _train(network: nn.Module, optimizer: torch.optim.Optimizer, image: Tensor) -> list[Tensor]:
    """One step; the loss, a mean square of every output, costs next to nothing and keeps the step the network's."""
    network.train()
    optimizer.zero_grad(set_to_none=True)
    with _autocast(image):
        loss = torch.stack([output.square().mean() for output in network(image)]).sum()
    loss.backward()
    optimizer.step()
    return []


def _infer(network: nn.Module, image: Tensor) -> list[Tensor]:
    network.eval()
    with torch.inference_mode(), _autocast(image):
        return list(network(image)[:1])


def _autocast(image: Tensor) -> torch.autocast:
    return torch.autocast(image.device.type, enabled=image.device.type == "cuda")  # as nnU-Net has it


def exponents_of(pixels: list[int], seconds: list[float]) -> tuple[float, float]:
    """Slopes of log seconds over log pixels by least squares: over all sizes, and over the upper half of them."""
    upper = min(len(pixels) // 2, len(pixels) - 2)
    return slope(pixels, seconds), slope(pixels[upper:], seconds[upper:])


def slope(x: list[int], y: list[float]) -> float:
    """Slope of log y over log x by least squares."""
    log_x, log_y = ([math.log(value) for value in values] for values in (x, y))
    mean_x, mean_y = sum(log_x) / len(log_x), sum(log_y) / len(log_y)
    products = sum((a - mean_x) * (b - mean_y) for a, b in zip(log_x, log_y, strict=True))
    return products / sum((a - mean_x) ** 2 for a in log_x)


def tables(results: dict[str, Any]) -> list[Table]:
    """The tables of kept figures."""
    found = [goals_table(results["targets"])]
    for name, figures in results["settings"].items():
        labels = {network: network.removeprefix("nnUNetTrainer") for network in figures["cost"]}
        columns = [(network, pass_) for network in figures["cost"] for pass_ in PASSES]
        heading = ("image", *(f"{labels[network]}, {pass_}" for network, pass_ in columns))
        rows = [heading]
        for side in next(iter(figures["cost"].values())):
            size = "x".join([side] * figures["axes"])
            rows.append((size, *(_text(figures["cost"][network][side], pass_) for network, pass_ in columns)))
        for at, which in enumerate(("all sizes", "upper half")):
            fitted = (f"{figures['exponents'][network][pass_][at]:.2f}" for network, pass_ in columns)
            rows.append((f"exponent, {which}", *fitted))
        found.append(Table(f"{name}: seconds an image; MiB beyond weights, image and result", rows))
    return found


def _text(row: dict[str, Any], pass_: str) -> str:
    seconds, memory = row[f"{pass_}_seconds"], row[f"{pass_}_bytes"]
    return f"{seconds:.3f}" if memory is None else f"{seconds:.3f}; {memory / MIB:.0f}"
