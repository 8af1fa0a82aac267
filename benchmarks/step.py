"""One training step of every trainer next to nnU-Net's own networks on the same plan, and where its time goes.

Each trainer is a real one: built by nnU-Net from nnU-Net's plan, started as a training starts, with its own network,
loss, optimizer and clipping; measured is its `train_step` on always the same batch of its data loader. 2-D is
nnU-Net's plan for 256x256 colour images, 3-D that for the hippocampus of the Medical Segmentation Decathlon, 40x56x40.
The CPU computes in float32 on batches of 2. A GPU computes with nnU-Net's autocast, with and without torch.compile, on
the batches that nnU-Net plans for a large dataset.
"""

import gc
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from typing import Any
from unittest.mock import patch

from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch.profiler import ProfilerActivity, profile

from benchmarks.machine import MIB, Goal, Options, Table, goals_table, in_turn
from benchmarks.networks import (
    PLAIN,
    RESIDUAL,
    S3MAMBA,
    S3MAMBA_FINE,
    SAUMAMBA,
    SEGMAMBA,
    SETTINGS,
    VMUNET,
    VMUNET_FINE,
    Setting,
    make_trainer,
    one_of_each_network,
    trainer_classes,
    workspace,
)
from benchmarks.processes import extra_memory, in_fresh_process, with_own_peak
from nnunetv2_mamba.training.safety.checkpoint_file import bare_network
from nnunetv2_mamba.training.settings import CHECKPOINTED_STAGES_VARIABLE

AIM = 1.5
STOCK = {PLAIN: "nnUNetTrainer", RESIDUAL: "nnUNetTrainer, residual plan"}
CHECKPOINTED = f"{S3MAMBA}, stage 0 checkpointed"
"""Computes the blocks of the finest level twice instead of keeping what they computed; see docs/training.md."""
ON_A_GPU = (PLAIN, RESIDUAL, VMUNET, S3MAMBA, VMUNET_FINE, S3MAMBA_FINE, SEGMAMBA)
"""Trainers that are measured on a GPU, whose time is dear."""
COMPILED = (S3MAMBA, S3MAMBA_FINE)
"""Of these, the ones whose step is also measured under torch.compile, which takes a minute for each."""
MANY_CASES = 1000
PROFILED = (S3MAMBA, S3MAMBA_FINE, SAUMAMBA, SEGMAMBA)
REST = "elementwise, copies and the rest"

# What torch's profiler calls things, in words of this project; the first match counts.
KINDS = {
    "selective scan": ("grid_scan",),
    "optimizer and clipping": ("adamw", "sgd", "_foreach", "clip_grad"),
    "causal convolution": ("causal_conv1d",),
    "convolution": ("conv",),
    "matrix products (projections)": ("mm", "linear", "matmul"),
    "normalisation": ("norm",),
}


def measure(options: Options) -> dict[str, Any]:
    """Seconds of a step, ratio to nnU-Net's U-Net, parameters, memory, and shares of the time; by setting."""
    settings = {"2d": Setting("2d", (32, 32))} if options.quick else SETTINGS
    cuda = options.device == "cuda"
    if cuda:
        settings = {name: replace(setting, cases=MANY_CASES) for name, setting in settings.items()}
    names = ON_A_GPU if cuda else tuple(trainer_classes())
    figures = {
        name: in_fresh_process(measure_setting, setting, (*names, CHECKPOINTED), options.device)
        for name, setting in settings.items()
    }
    if cuda:
        figures["2d, compiled"] = in_fresh_process(measure_setting, settings["2d"], COMPILED, "cuda", True)
    targets = [
        Goal(f"S3-Mamba's step over {PLAIN}'s, {name}", found["trainers"][S3MAMBA]["over_plain"], "<=", AIM)
        for name, found in figures.items()
        if options.device == "cpu" or "compiled" in name
    ]
    return {"settings": figures, "targets": [asdict(target) for target in targets]}


def measure_setting(setting: Setting, names: tuple[str, ...], device: str, compiled: bool = False) -> dict[str, Any]:
    """Figures of some trainers on one plan; for a process of its own.

    Each is timed in turn with nnU-Net's own and then given up: all at once would fill the memory of a laptop.
    """
    with workspace(setting), patch.dict(os.environ, {"nnUNet_compile": "t" if compiled else "f"}):
        stock, stock_step = started(PLAIN, setting, device)
        found = {PLAIN: _about(stock)}
        found[PLAIN] |= {"over_plain": 1.0, "shares": shares(stock_step, device), "seconds": float("inf")}
        for name in names:
            if name == PLAIN:
                continue
            trainer, step = started(name, setting, device)
            seconds = in_turn({PLAIN: stock_step, name: step}, 2, device)
            found[PLAIN]["seconds"] = min(seconds[PLAIN], found[PLAIN]["seconds"])
            figures = {"seconds": seconds[name], "over_plain": seconds[name] / seconds[PLAIN]}
            found[name] = _about(trainer) | figures | ({"shares": shares(step, device)} if name in PROFILED else {})
            print(f"{name}: {figures['over_plain']:.2f} of {PLAIN}'s step", file=sys.__stdout__, flush=True)
            del trainer, step
            gc.collect()
        measured = () if compiled else (*one_of_each_network(), CHECKPOINTED)
        for name in (name for name in measured if name in found):
            found[name]["bytes"] = with_own_peak(step_memory, name, setting, device, device=device)
    patch_size = list(stock.configuration_manager.patch_size)
    return {"patch_size": patch_size, "batch_size": stock.batch_size, "trainers": found}


def _about(trainer: nnUNetTrainer) -> dict[str, Any]:
    network = bare_network(trainer.network)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return {"network": type(network).__name__, "parameters": parameters}


def started(name: str, setting: Setting, device: str) -> tuple[nnUNetTrainer, Callable[[], Any]]:
    """A trainer at the start of its first epoch, and a function that makes one step on always the same batch."""
    variables = {CHECKPOINTED_STAGES_VARIABLE: "0"} if name == CHECKPOINTED else {}
    with patch.dict(os.environ, variables):
        trainer = make_trainer(S3MAMBA if name == CHECKPOINTED else name, setting, device)
        trainer.on_train_start()
    trainer.on_train_epoch_start()
    batch = next(trainer.dataloader_train)
    return trainer, partial(trainer.train_step, batch)


def step_memory(name: str, setting: Setting, device: str) -> int | None:
    """Peak bytes of a step beyond weights, gradients and optimizer, which the first one makes."""
    with workspace(setting):
        _, step = started(name, setting, device)
        step()
        return extra_memory(lambda: [step(), []][1], device)[0]


def shares(step: Callable[[], Any], device: str = "cpu") -> dict[str, float]:
    """Fraction of a step's time by kind of operation."""
    cuda = device == "cuda"
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it reports its starts and stops as if they were errors
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]) as profiler:
        step()
    seconds = dict.fromkeys([*KINDS, REST], 0.0)
    for event in profiler.key_averages():
        name = event.key.lower()
        kind = next((kind for kind, words in KINDS.items() if any(word in name for word in words)), REST)
        seconds[kind] += event.self_device_time_total if cuda else event.self_cpu_time_total
    total = sum(seconds.values())
    return {kind: value / total for kind, value in seconds.items()}


def tables(results: dict[str, Any]) -> list[Table]:
    """The tables of kept figures."""
    found = [goals_table(results["targets"])]
    for name, figures in results["settings"].items():
        size = "x".join(map(str, figures["patch_size"]))
        title = f"{name}: a training step, patch {size}, batch {figures['batch_size']}"
        rows = [("trainer", "network", "parameters", "seconds", f"over {PLAIN}", "MiB beyond weights and optimizer")]
        for trainer, row in figures["trainers"].items():
            memory = f"{row['bytes'] / MIB:.0f}" if row.get("bytes") is not None else ""
            numbers = (f"{row['parameters']:,}", f"{row['seconds']:.3f}", f"{row['over_plain']:.2f}", memory)
            rows.append((STOCK.get(trainer, trainer), row["network"], *numbers))
        found += [Table(title, rows), _shares_table(name, figures["trainers"])]
    return found


def _shares_table(name: str, trainers: dict[str, Any]) -> Table:
    profiled = {trainer: row for trainer, row in trainers.items() if "shares" in row}
    rows = [("operations", *profiled)]
    rows += [(kind, *(f"{row['shares'].get(kind, 0):.0%}" for row in profiled.values())) for kind in [*KINDS, REST]]
    return Table(f"{name}: where a step's time goes", rows)
