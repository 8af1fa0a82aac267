"""What a timing means nothing without: the class of the machine, versions and the date; and how results are kept."""

import json
import platform
import time
from collections.abc import Callable
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from llvmlite import binding

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "numba", "nnunetv2", "nnunetv2-mamba")


def describe() -> dict[str, Any]:
    """Cores, vector width in bits, versions and the date."""
    features = binding.get_host_cpu_features()
    widths = {"avx512f": 512, "avx2": 256, "avx": 256}
    return {
        "date": date.today().isoformat(),
        "architecture": platform.machine(),
        "cpu": binding.get_host_cpu_name(),
        "cores": torch.get_num_threads(),
        "vector_bits": max((bits for name, bits in widths.items() if features.get(name)), default=128),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
    }


def fastest(run: Callable[[], Any], repetitions: int) -> float:
    """Seconds of the fastest of some runs, after one that does not count."""
    run()
    seconds = []
    for _ in range(repetitions):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def report(name: str, results: dict[str, Any], rows: list[tuple[str, ...]]) -> None:
    """Print a table and keep it with the machine as ``results/NAME.json``.

    Args:
        name: of the benchmark.
        results: figures to keep.
        rows: the table, heading first.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": describe(), **results}, indent=2) + "\n")
    print(f"\nkept in {path.relative_to(Path(__file__).parents[1])}")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
