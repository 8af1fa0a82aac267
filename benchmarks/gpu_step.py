"""``python -m benchmarks.gpu_step``: one trainer's step and prediction on a GPU, plain and then under torch.compile.

For a GPU that is there for minutes only: the figures are written as soon as they are there, and one process a trainer
can run at the same time, so that they compile side by side. A lock lets one of them measure at a time.
"""

import argparse
import fcntl
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from benchmarks.machine import MIB, describe
from benchmarks.networks import SETTINGS, Setting, trainer_classes, workspace
from benchmarks.step import MANY_CASES, started

REPETITIONS = 8


def main() -> None:
    """Measure one trainer."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_step", description=__doc__)
    parser.add_argument("trainer", choices=trainer_classes())
    parser.add_argument("setting", choices=SETTINGS)
    parser.add_argument("--out", type=Path, required=True, help="folder of the figures, one file a trainer")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    figures: dict[str, Any] = {"machine": describe("cuda")}
    for name, value in measured(arguments.trainer, replace(SETTINGS[arguments.setting], cases=MANY_CASES)):
        figures[name] = value
        print(f"{arguments.trainer}, {arguments.setting}: {name} {value}", flush=True)
        (arguments.out / f"{arguments.trainer}_{arguments.setting}.json").write_text(json.dumps(figures) + "\n")


def measured(trainer: str, setting: Setting) -> Iterator[tuple[str, Any]]:
    """Names and values of figures, each as soon as it is measured."""
    with workspace(setting):
        instance, step = started(trainer, setting, "cuda")
        yield "batch", instance.batch_size
        yield "plain", _timed(step)
        yield "predict_patch_ms", _prediction(instance, setting.channels)
        del instance, step
        torch.cuda.empty_cache()
        # nnU-Net reads it when a trainer builds its network.
        os.environ["nnUNet_compile"] = "t"
        begun = time.perf_counter()
        _, step = started(trainer, setting, "cuda")
        step()
        torch.cuda.synchronize()
        yield "seconds_until_first_compiled_step", time.perf_counter() - begun
        yield "compiled", _timed(step)


@contextmanager
def _alone() -> Iterator[None]:
    """Nobody else measures meanwhile."""
    with Path(tempfile.gettempdir(), "nnunetv2_mamba_gpu_step.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _timed(step: Callable[[], Any]) -> dict[str, float]:
    """Median and least ms of a step, and MiB that it needs beyond weights and optimizer."""
    step()
    with _alone():
        step()
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before, seconds = torch.cuda.memory_allocated(), []
        for _ in range(REPETITIONS):
            seconds.append(_seconds(step))
        memory = (torch.cuda.max_memory_allocated() - before) / MIB
    return {"ms": 1000 * statistics.median(seconds), "least_ms": 1000 * min(seconds), "MiB": memory}


def _prediction(trainer: nnUNetTrainer, channels: int) -> float:
    """Median ms of the network on one patch, as a prediction computes it."""
    network = trainer.network
    trainer.set_deep_supervision_enabled(False)
    network.eval()
    patch = torch.randn(1, channels, *trainer.configuration_manager.patch_size, device="cuda")
    with _alone(), torch.inference_mode(), torch.autocast("cuda"):
        for _ in range(3):
            network(patch)
        return 1000 * statistics.median(_seconds(lambda: network(patch)) for _ in range(REPETITIONS))


def _seconds(run: Callable[[], Any]) -> float:
    torch.cuda.synchronize()
    begun = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
