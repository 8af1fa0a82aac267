"""The trainings of the benchmark: which there are, which are done, and each in a process of its own."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.small_lesions.budget import BUDGETS
from benchmarks.small_lesions.datasets import Question, Workspace, last_line
from nnunetv2_mamba.files import written_aside

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "small_lesions"


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        dataset: its name.
        question: what it is trained and scored on.
        budget: name of its budget.
        trainer: name of its class.
        seed: of everything random.
    """

    dataset: str
    question: Question
    budget: str
    trainer: str
    seed: int

    def file(self, results: Path) -> Path:
        """Where its result is kept."""
        return results / self.question / self.budget / self.dataset / self.trainer / f"seed_{self.seed}.json"


def planned(
    datasets: Sequence[str], trainers: Sequence[str], *, seeds: Sequence[int], question: Question, budget: str
) -> list[Run]:
    """All trainings, all of one seed before the next, so that the comparison is balanced wherever it stops."""
    return [Run(name, question, budget, trainer, seed) for seed in seeds for name in datasets for trainer in trainers]


def train_all(workspace: Workspace, runs: Sequence[Run], *, results: Path, device: str, jobs: int = 1) -> int:
    """Train what is not done yet; it may be interrupted and called again at any time.

    Args:
        workspace: where the datasets are prepared.
        runs: in their order.
        results: folder of the results.
        device: that of PyTorch.
        jobs: how many run at the same time, each with its share of the cores.

    Returns:
        How many trainings failed.
    """
    waiting = [run for run in runs if not run.file(results).exists()]
    print(f"{len(runs) - len(waiting)} of {len(runs)} trainings are done", flush=True)
    running: dict[Run, tuple[subprocess.Popen, float]] = {}
    failed = 0
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                run = waiting.pop(0)
                running[run] = _start(workspace, run, results=results, device=device, jobs=jobs), time.perf_counter()
            for run, (process, started) in list(running.items()):
                if process.poll() is not None:
                    del running[run]
                    failed += process.returncode != 0
                    _say(workspace, run, process.returncode, seconds=time.perf_counter() - started)
            time.sleep(0.2)
    finally:
        for process, _ in running.values():
            process.terminate()
    return failed


def train_one(workspace: Workspace, run: Run, *, results: Path, device: str) -> None:
    """What the process of one training does: train, score, and keep the result."""
    from benchmarks.small_lesions.training import train_and_score

    budget = BUDGETS[run.budget]
    result = train_and_score(
        workspace,
        run.dataset,
        trainer=run.trainer,
        seed=run.seed,
        budget=budget,
        question=run.question,
        device=device,
    )
    file = run.file(results)
    file.parent.mkdir(parents=True, exist_ok=True)
    with written_aside(file) as aside:
        aside.write_text(json.dumps({"run": asdict(run), "budget": asdict(budget), **result}) + "\n")


def finished(results: Path) -> Iterator[tuple[Run, dict[str, Any]]]:
    """Every finished training with its result."""
    for file in sorted(results.glob("*/*/*/*/seed_*.json")):
        content = json.loads(file.read_text())
        yield Run(**content["run"]), content


def _log(workspace: Workspace, run: Run) -> Path:
    return workspace.folder / "logs" / f"{run.question}_{run.budget}_{run.dataset}_{run.trainer}_{run.seed}.log"


def _start(workspace: Workspace, run: Run, *, results: Path, device: str, jobs: int) -> subprocess.Popen:
    command = [sys.executable, "-m", "benchmarks.small_lesions", "one", "--work", str(workspace.folder)]
    command += ["--results", str(results), "--device", device]
    for name, value in asdict(run).items():
        command += [f"--{name}", str(value)]
    threads = max((os.cpu_count() or 1) // jobs, 1)
    environment = {"OMP_NUM_THREADS": str(threads)} | os.environ | workspace.variables()
    # A training at a time writes into a folder of nnU-Net's.
    environment["nnUNet_results"] = str(workspace.folder / "trainings" / _log(workspace, run).stem)
    log = _log(workspace, run)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as stream:
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=stream, stderr=subprocess.STDOUT)


def _say(workspace: Workspace, run: Run, exit_code: int, *, seconds: float) -> None:
    outcome = "done"
    if exit_code:
        reason = last_line(_log(workspace, run).read_text()) if exit_code > 0 else f"ended by signal {-exit_code}"
        outcome = f"failed: {reason}"
    print(f"{run.dataset}  {run.trainer}  seed {run.seed}  {seconds:.0f} s  {outcome}", flush=True)
