"""The trainings of an ablation: which there are, which are done, and each in a process of its own."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.ablation.data import DATASETS, PLANS_NAME, AblationError, Budget, last_line, prepare, variables
from benchmarks.ablation.rows import TRAINERS
from nnunetv2_mamba.files import written_aside

ROOT = Path(__file__).parents[2]
BUDGETS_FILE = "budgets.json"


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        dataset: of `data.DATASETS`.
        row: of `rows.TRAINERS`.
        seed: of everything random.
    """

    dataset: str
    row: str
    seed: int

    def file(self, work: Path, ending: str = ".json") -> Path:
        """Where its result is kept once it is finished, or another file of it."""
        return work / "runs" / self.dataset / TRAINERS[self.row] / f"seed_{self.seed}{ending}"


def planned(datasets: Sequence[str], rows: Sequence[str], seeds: int) -> list[Run]:
    """All runs, all of one seed before the next, so that the comparison is balanced wherever it stops."""
    return [Run(dataset, row, seed) for seed in range(seeds) for dataset in datasets for row in rows]


def claim(work: Path, budgets: Mapping[str, Budget]) -> None:
    """Keep the budget of each dataset with its results.

    Raises:
        AblationError: the folder holds results of another budget.
    """
    work.mkdir(parents=True, exist_ok=True)
    kept = kept_budgets(work)
    for dataset, budget in budgets.items():
        if kept.setdefault(dataset, budget) != budget:
            raise AblationError(
                f"{work} holds trainings on {dataset} with {kept[dataset]}, not {budget}: name another folder."
            )
    file = work / BUDGETS_FILE
    file.write_text(json.dumps({dataset: asdict(budget) for dataset, budget in kept.items()}, indent=1) + "\n")


def kept_budgets(work: Path) -> dict[str, Budget]:
    """The budgets that a folder holds results of."""
    file = work / BUDGETS_FILE
    entries = json.loads(file.read_text()) if file.exists() else {}
    return {dataset: Budget(**entry) for dataset, entry in entries.items()}


def train_all(
    data: Path,
    work: Path,
    runs: Sequence[Run],
    budgets: Mapping[str, Budget],
    device: str,
    jobs: int = 1,
    retry: bool = False,
) -> None:
    """Train what is not done yet; may be interrupted and called again at any time.

    Args:
        data: folder with the raw datasets.
        work: folder for everything that is written.
        runs: in their order.
        budgets: of the trainings on each dataset.
        device: that of PyTorch.
        jobs: how many run at the same time, each with its share of the cores.
        retry: whether those that failed are run again.

    Raises:
        AblationError: the datasets or the folder cannot be used.
    """
    claim(work, budgets)
    for dataset in dict.fromkeys(run.dataset for run in runs):
        prepare(data, work, dataset, budgets[dataset])
    waiting = [run for run in runs if _is_due(run.file(work), retry)]
    print(f"{len(runs) - len(waiting)} of {len(runs)} trainings are done", flush=True)
    running: dict[Run, tuple[subprocess.Popen, float]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                run = waiting.pop(0)
                running[run] = _start(run, work, device, jobs), time.perf_counter()
            for run, (process, started) in list(running.items()):
                if process.poll() is not None:
                    del running[run]
                    _finish(run, work, process.returncode, time.perf_counter() - started)
            time.sleep(0.2)
    finally:
        for process, _ in running.values():
            process.terminate()


def results(work: Path) -> Iterator[tuple[Run, dict[str, Any]]]:
    """Every finished run of a folder with its result, failed ones included."""
    rows = {trainer: row for row, trainer in TRAINERS.items()}
    for file in sorted((work / "runs").glob("*/*/seed_*.json")):
        dataset, trainer = file.parts[-3:-1]
        yield Run(dataset, rows[trainer], int(file.stem.removeprefix("seed_"))), json.loads(file.read_text())


def train_one(work: Path, run: Run, device: str) -> None:
    """What the process of one training does."""
    from benchmarks.ablation.training import train_and_score

    name, budget = DATASETS[run.dataset], kept_budgets(work)[run.dataset]
    plans = work / "nnUNet_preprocessed" / name / f"{PLANS_NAME}.json"
    result = train_and_score(work / "nnUNet_raw" / name, plans, run.row, run.seed, budget, device)
    _keep(run.file(work), result)


def _is_due(file: Path, retry: bool) -> bool:
    return not file.exists() or (retry and "failed" in json.loads(file.read_text()))


def _start(run: Run, work: Path, device: str, jobs: int) -> subprocess.Popen:
    file = run.file(work)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.ablation", "one", "--work", str(work), "--device", device]
    command += ["--dataset", run.dataset, "--row", run.row, "--seed", str(run.seed)]
    threads = max((os.cpu_count() or 1) // jobs, 1)
    environment = {"OMP_NUM_THREADS": str(threads)} | os.environ | variables(work, run.file(work, ""))
    # Batches of several processes come in an order that no seed settles.
    environment["nnUNet_n_proc_DA"] = "0"
    with run.file(work, ".log").open("w") as log:
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)


def _finish(run: Run, work: Path, exit_code: int, seconds: float) -> None:
    if exit_code:
        reason = last_line(run.file(work, ".log").read_text()) if exit_code > 0 else f"ended by signal {-exit_code}"
        _keep(run.file(work), {"failed": reason})
    outcome = f"failed: {reason}" if exit_code else "done"
    print(f"{run.dataset}  {run.row}  seed {run.seed}  {seconds:.0f} s  {outcome}", flush=True)


def _keep(file: Path, result: dict[str, Any]) -> None:
    with written_aside(file) as aside:
        aside.write_text(json.dumps(result) + "\n")
