"""``python -m benchmarks.small_lesions run`` and ``report``: which trainer finds the small lesions of held-out images.

``run`` trains what is not done yet and can be interrupted at any time; results of different days and machines add up.
``report`` compares them. ``page`` writes the comparison into docs/results.md.
"""

import argparse
import signal
import sys
from pathlib import Path
from typing import get_args

from benchmarks.small_lesions.budget import BUDGETS
from benchmarks.small_lesions.datasets import BenchmarkError, Question, Workspace
from benchmarks.small_lesions.runs import RESULTS, ROOT, Run, planned, train_all, train_one

PAGE = ROOT / "docs" / "results.md"


def main() -> int:
    """Do what the arguments say.

    Returns:
        Exit code: 0, 1 where a training failed, 2 where something cannot be used, 130 when interrupted.
    """
    arguments = _parser().parse_args()
    try:
        return arguments.command(arguments) or 0
    except BenchmarkError as error:
        print(f"small_lesions: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("small_lesions: interrupted; the same command goes on with what is not done", file=sys.stderr)
        return 130


def _run(arguments: argparse.Namespace) -> int:
    # A terminated run takes the trainings in progress with it, as an interrupted one does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    workspace = Workspace(arguments.work.resolve())
    for dataset in arguments.datasets:
        workspace.prepare(dataset.resolve())
    runs = planned(
        [dataset.resolve().name for dataset in arguments.datasets],
        arguments.trainers,
        seeds=arguments.seeds,
        question=arguments.question,
        budget=arguments.budget,
    )
    results = arguments.results.resolve()
    return int(train_all(workspace, runs, results=results, device=arguments.device, jobs=arguments.jobs) > 0)


def _one(arguments: argparse.Namespace) -> None:
    names = ("dataset", "question", "budget", "trainer", "seed")
    run = Run(**{name: getattr(arguments, name) for name in names})
    train_one(Workspace(arguments.work), run, results=arguments.results, device=arguments.device)


def _report(arguments: argparse.Namespace) -> None:
    from benchmarks.small_lesions.report import render

    print(render(arguments.results, question=arguments.question, budget=arguments.budget))


def _page(arguments: argparse.Namespace) -> None:
    from benchmarks.small_lesions.page import update

    update(PAGE, arguments.results)


def _parser() -> argparse.ArgumentParser:
    description = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.small_lesions", description=description)
    commands = parser.add_subparsers(required=True)
    run = commands.add_parser("run", help="train what is not done yet")
    run.add_argument("--datasets", nargs="+", type=Path, required=True, help="folders in nnU-Net's raw format")
    run.add_argument("--trainers", nargs="+", required=True, help="names of trainers, as -tr takes them")
    run.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    run.add_argument("--jobs", type=int, default=1, help="trainings at the same time, which share the cores")
    run.set_defaults(command=_run)
    # What `run` starts a process of its own with, for each training.
    one = commands.add_parser("one", help="one training of a dataset that `run` has prepared")
    for name in ("dataset", "trainer"):
        one.add_argument(f"--{name}", required=True)
    one.add_argument("--seed", type=int, required=True)
    one.set_defaults(command=_one)
    report = commands.add_parser("report", help="compare what is done")
    report.set_defaults(command=_report)
    page = commands.add_parser("page", help="write the tables and the figure of docs/results.md")
    page.set_defaults(command=_page)
    page.add_argument("--results", type=Path, default=RESULTS, help="folder of the results")
    for command in (run, one):
        command.add_argument("--work", type=Path, required=True, help="folder for prepared datasets and trainings")
        command.add_argument("--device", default="cpu", help="of PyTorch: cpu, cuda or mps")
    for command in (run, one, report):
        command.add_argument("--results", type=Path, default=RESULTS, help="folder of the results")
        command.add_argument("--question", choices=get_args(Question), default="explore")
        command.add_argument("--budget", choices=BUDGETS, default="short")
    return parser


if __name__ == "__main__":
    sys.exit(main())
