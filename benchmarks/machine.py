"""What a timing means nothing without: the class of the machine, versions and the date; and how results are kept."""

import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from llvmlite import binding

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "numba", "triton", "nnunetv2", "dynamic-network-architectures", "nnunetv2-mamba", "mambapy")
MEASURED = ("nnunetv2_mamba/ops", "nnunetv2_mamba/building_blocks", "nnunetv2_mamba/architectures", "plans")
"""Folders whose code decides a timing."""

MIB = 2**20
SLOW = 2.0


@dataclass(frozen=True)
class Options:
    """How to measure.

    Attributes:
        device: torch device type.
        quick: whether to try the machinery on small shapes only; such figures are printed and not kept.
    """

    device: str = "cpu"
    quick: bool = False


@dataclass(frozen=True)
class Table:
    """A table of figures.

    Attributes:
        title: what it shows.
        rows: heading first.
    """

    title: str
    rows: Sequence[Sequence[str]]

    def text(self) -> str:
        """For a terminal."""
        widths = [max(map(len, column)) for column in zip(*self.rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in self.rows]
        return "\n".join([self.title, "", *lines, ""])

    def markdown(self) -> str:
        """For the docs."""
        heading, *rows = ("| " + " | ".join(row) + " |" for row in self.rows)
        rule = "|" + "---|" * len(self.rows[0])
        return "\n".join([f"**{self.title}**", "", heading, rule, *rows, ""])


@dataclass(frozen=True)
class Goal:
    """A figure and what was aimed at.

    Attributes:
        what: that is measured, in words.
        measured: the figure; None where it could not be had.
        sign: ``"<="`` or ``">="``.
        aim: the figure aimed at.
    """

    what: str
    measured: float | None
    sign: str
    aim: float

    @property
    def met(self) -> bool:
        """Whether the aim was reached; what was not measured was not."""
        if self.measured is None:
            return False
        return self.measured >= self.aim if self.sign == ">=" else self.measured <= self.aim


def goals_table(targets: Sequence[dict[str, Any]]) -> Table:
    """Table of targets as they are kept in JSON, the missed ones marked."""
    rows = [("target", "aim", "measured", "")]
    for target in (Goal(**entry) for entry in targets):
        measured = "not measured" if target.measured is None else f"{target.measured:.3g}"
        rows.append((target.what, f"{target.sign} {target.aim:g}", measured, "met" if target.met else "**missed**"))
    return Table("Targets", rows)


def describe(device: str = "cpu") -> dict[str, Any]:
    """Cores, vector width in bits, versions, the date, and which state of the measured code it was."""
    features = binding.get_host_cpu_features()
    widths = {"avx512f": 512, "avx2": 256, "avx": 256}
    return {
        "date": date.today().isoformat(),
        "architecture": platform.machine(),
        "cpu": binding.get_host_cpu_name(),
        "cores": torch.get_num_threads(),
        "idle_threads": os.environ.get("OMP_WAIT_POLICY", "default"),
        "vector_bits": max((bits for name, bits in widths.items() if features.get(name)), default=128),
        **({"gpu": torch.cuda.get_device_name()} if device == "cuda" else {}),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "code": code_digest(),
    }


def code_digest() -> str:
    """Digest of the code that is measured, to tell figures of this state from older ones."""
    digest = hashlib.sha256()
    for folder in MEASURED:
        for file in sorted((ROOT / folder).rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def timed(run: Callable[[], Any], device: str = "cpu") -> float:
    """Seconds of one run."""
    _wait(device)
    started = time.perf_counter()
    run()
    _wait(device)
    return time.perf_counter() - started


def fastest(run: Callable[[], Any], repetitions: int, device: str = "cpu") -> float:
    """Seconds of the fastest of some runs, after one that does not count."""
    run()
    return min(timed(run, device) for _ in range(repetitions))


def in_turn(
    runs: dict[str, Callable[[], Any]], rounds: int, device: str = "cpu", seconds_a_round: float = 0.2
) -> dict[str, float]:
    """Seconds of the fastest run of each, in turns, so that a change of the machine's clock meets all of them.

    One that takes longer than `SLOW` seconds has two runs and no more.

    Args:
        runs: by name.
        rounds: how often each has its turn.
        device: torch device type.
        seconds_a_round: how long one has its turn; at least one run.
    """
    best = {name: timed(run, device) for name, run in runs.items()}
    for number in range(rounds):
        for name, run in runs.items():
            if number and best[name] > SLOW:
                continue
            if number == 0 and best[name] < seconds_a_round:
                best[name] = timed(run, device)  # the first may have compiled or allocated
            repetitions = max(1, min(10, int(seconds_a_round / best[name])))
            best[name] = min(best[name], *(timed(run, device) for _ in range(repetitions)))
    return best


def report(name: str, results: dict[str, Any], rows: list[tuple[str, ...]]) -> None:
    """Print a table and keep it with the machine as ``results/NAME.json``.

    Args:
        name: of the benchmark.
        results: figures to keep.
        rows: the table, heading first.
    """
    print(Table("", rows).text())
    print(f"kept in {keep(name, results).relative_to(ROOT)}")


def keep(name: str, results: dict[str, Any], device: str = "cpu") -> Path:
    """Write ``results/NAME.json``, of a GPU ``results/NAME_cuda.json``, with the machine."""
    RESULTS.mkdir(exist_ok=True)
    path = result_path(name, device)
    path.write_text(json.dumps({"machine": describe(device), **results}, indent=2) + "\n")
    return path


def result_path(name: str, device: str = "cpu") -> Path:
    """Where the figures of a benchmark are."""
    return RESULTS / f"{name if device == 'cpu' else f'{name}_{device}'}.json"


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
