"""``python -m benchmarks.evaluation``: time and memory of ``nnUNetv2_mamba evaluate`` against nnU-Net's own evaluation.

Both evaluate the same folders of 256x256x64 volumes with 50 lesions, four out of five of them predicted a little off,
with as many processes. nnU-Net counts voxels; ours counts them too, and finds, matches and measures lesions.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import SimpleITK as sitk

from benchmarks.machine import report

SHAPE = (64, 256, 256)
SPACING = (3.0, 1.0, 1.0)
LESIONS = 50
INVENTED = 10
REACH = 12
TARGET = 3.0
ROUNDS = 2
DATASET = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "lesion": 1}, "file_ending": ".nii.gz"}
PLANS = {"plans_name": "nnUNetPlans", "dataset_name": "Dataset001_Synthetic", "image_reader_writer": "SimpleITKIO"}


def volumes(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A reference and a prediction (64, 256, 256) with ellipsoids in them."""
    random = np.random.default_rng(seed)
    offsets = np.indices((2 * REACH + 1,) * 3) - REACH
    reference, prediction = np.zeros((2, *SHAPE), dtype=np.uint8)
    for number in range(LESIONS + INVENTED):
        axes = random.uniform(1, REACH - 2) * random.uniform(0.6, 1.2, 3) / (SPACING if number % 2 else (1.0,) * 3)
        shape = sum((offset / axis) ** 2 for offset, axis in zip(offsets, axes, strict=True)) <= 1
        centre = [random.integers(REACH, size - REACH - 1) for size in SHAPE]
        if number < LESIONS:
            _add(reference, shape, centre)
        if number >= LESIONS or random.random() < 0.8:
            limits = [(REACH, size - REACH - 1) for size in SHAPE]
            moved = [
                int(np.clip(at + random.integers(-1, 2), *limit)) for at, limit in zip(centre, limits, strict=True)
            ]
            _add(prediction, shape, moved)
    return reference, prediction


def _add(volume: np.ndarray, shape: np.ndarray, centre: list[int]) -> None:
    volume[tuple(slice(at - REACH, at + REACH + 1) for at in centre)] |= shape


def write_cases(folder: Path, number: int) -> None:
    """Folders ``reference`` and ``prediction``, the latter with the files that nnU-Net leaves there."""
    for side in ("reference", "prediction"):
        (folder / side).mkdir()
    for case in range(number):
        for side, volume in zip(("reference", "prediction"), volumes(case), strict=True):
            image = sitk.GetImageFromArray(volume)
            image.SetSpacing(SPACING[::-1])
            sitk.WriteImage(image, str(folder / side / f"case_{case:03d}.nii.gz"))
    (folder / "prediction" / "dataset.json").write_text(json.dumps(DATASET | {"numTraining": number}))
    (folder / "prediction" / "plans.json").write_text(json.dumps(PLANS))


def commands(folder: Path, processes: int) -> dict[str, list[str]]:
    """Command lines by name."""
    reference, prediction = folder / "reference", folder / "prediction"
    files = [
        "-djfile",
        str(prediction / "dataset.json"),
        "-pfile",
        str(prediction / "plans.json"),
        "-np",
        f"{processes}",
    ]
    bin_ = Path(sys.executable).parent
    theirs = [str(bin_ / "nnUNetv2_evaluate_folder"), str(reference), str(prediction), *files]
    ours = [str(bin_ / "nnUNetv2_mamba"), "evaluate", "-ref", str(reference), "-pred", str(prediction), *files]
    return {
        "nnUNetv2_evaluate_folder": [*theirs, "-o", str(folder / "summary.json")],
        "nnUNetv2_mamba evaluate": [*ours, "-o", str(folder / "ours")],
    }


# In a process of its own: a child's largest size begins with that of the process it was forked from.
_RUN = """
import json, resource, subprocess, sys, time
started = time.perf_counter()
status = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps({
    "status": status,
    "seconds": time.perf_counter() - started,
    "cpu_seconds": usage.ru_utime + usage.ru_stime,
    "largest_process_mib": usage.ru_maxrss / 1024,
}))
"""


def run(command: list[str]) -> dict[str, float]:
    """Seconds, seconds of all processes' CPU time, and MiB of the largest process of a command."""
    # Threads of numerical libraries would take the cores from the other process.
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-c", _RUN, *command]
    figures = json.loads(subprocess.run(line, env=environment, capture_output=True, check=True).stdout)
    if figures.pop("status"):
        raise SystemExit(f"{' '.join(command)} failed; run it by hand.")
    return figures


def measure(cases: int, processes: int, rounds: int = ROUNDS) -> dict[str, dict[str, float]]:
    """The fastest of some runs of each command, in turns."""
    with TemporaryDirectory() as name:
        write_cases(Path(name), cases)
        runs: dict[str, list[dict[str, float]]] = {command: [] for command in commands(Path(name), processes)}
        for _ in range(rounds):
            for command, line in commands(Path(name), processes).items():
                runs[command].append(run(line))
    return {command: min(measured, key=lambda figures: figures["seconds"]) for command, measured in runs.items()}


def main() -> None:
    """Measure with all cases and with a quarter of them, and report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    results: dict[str, Any] = {}
    rows = [("command", "cases", "seconds", "over nnU-Net's", "CPU seconds", "largest process (MiB)")]
    for cases in (arguments.cases // 4, arguments.cases):
        results[str(cases)] = figures = measure(cases, arguments.processes)
        first = next(iter(figures.values()))["seconds"]
        for command, values in figures.items():
            values["over_nnunet"] = values["seconds"] / first
            row = [f"{values[key]:.{digits}f}" for key, digits in _COLUMNS.items()]
            rows.append((command, str(cases), *row))
    report("evaluation", {"processes": arguments.processes, "target": TARGET, "cases": results}, rows)
    reached = results[str(arguments.cases)]["nnUNetv2_mamba evaluate"]["over_nnunet"]
    if reached > TARGET:
        raise SystemExit(f"{reached:.2f} times nnU-Net's time is more than the {TARGET:g} aimed at.")


_COLUMNS = {"seconds": 1, "over_nnunet": 2, "cpu_seconds": 1, "largest_process_mib": 0}


if __name__ == "__main__":
    main()
