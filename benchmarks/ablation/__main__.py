"""``python -m benchmarks.ablation run`` and ``report``: the eight rows of the ablation, trained and compared.

``run`` trains what is not done yet and can be interrupted at any time; all rows of one seed come before the next seed.
``report`` compares the seeds that are complete: ``benchmarks/results/ablation.json``, ``ablation.md`` and its figure.
"""

import argparse
import signal
import sys
from dataclasses import fields, replace
from pathlib import Path

from benchmarks.ablation.data import BUDGETS, DATASETS, AblationError, Budget
from benchmarks.ablation.rows import HALVES, ROWS, STOCK, TRAINERS
from benchmarks.ablation.runs import Run, planned, train_all, train_one


def main() -> int:
    """Do what the arguments say.

    Returns:
        Exit code: 0, 2 where something cannot be used, 130 when interrupted.
    """
    arguments = _parser().parse_args()
    arguments.work = arguments.work.resolve()
    try:
        arguments.command(arguments)
    except AblationError as error:
        print(f"ablation: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("ablation: interrupted; the same command goes on with the trainings that are not done", file=sys.stderr)
        return 130
    return 0


def _run(arguments: argparse.Namespace) -> None:
    # A terminated run takes the training in progress with it, as an interrupted one does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    given = {field.name: getattr(arguments, field.name) for field in fields(Budget)}
    changes = {name: value for name, value in given.items() if value is not None}
    budgets = {dataset: replace(BUDGETS[dataset], **changes) for dataset in arguments.datasets}
    rows = [*arguments.rows, *([STOCK] if arguments.with_stock else []), *(HALVES if arguments.with_halves else [])]
    runs = planned(arguments.datasets, list(dict.fromkeys(rows)), arguments.seeds)
    train_all(arguments.data, arguments.work, runs, budgets, arguments.device, arguments.jobs, arguments.retry_failed)


def _one(arguments: argparse.Namespace) -> None:
    train_one(arguments.work, Run(arguments.dataset, arguments.row, arguments.seed), arguments.device)


def _report(arguments: argparse.Namespace) -> None:
    from benchmarks.ablation.report import write

    write(arguments.work)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ablation", description=(__doc__ or "").partition("\n")[0]
    )
    commands = parser.add_subparsers(required=True)
    run = commands.add_parser("run", help="train what is not done yet")
    run.add_argument("--data", type=Path, required=True, help=f"folder with {' and '.join(DATASETS)}")
    run.add_argument("--datasets", nargs="+", choices=DATASETS, default=list(DATASETS))
    run.add_argument("--rows", nargs="+", choices=TRAINERS, default=list(ROWS))
    run.add_argument("--with-stock", action="store_true", help="nnU-Net's own network and trainer as one more row")
    run.add_argument("--with-halves", action="store_true", help="what EnCF does at once, as two more rows")
    run.add_argument("--seeds", type=int, default=3, help="number of seeds, from 0 (default 3)")
    budget = run.add_argument_group("budget of each training, in the place of each dataset's own")
    budget.add_argument("--epochs", type=int)
    budget.add_argument("--iterations", type=int, help="training steps per epoch")
    budget.add_argument("--patch", type=int, help="edge length of the patches in pixels")
    budget.add_argument("--batch", type=int)
    budget.add_argument("--tile-step", type=float, help="step of the sliding window over the patch; nnU-Net's is 0.5")
    run.add_argument("--jobs", type=int, default=1, help="trainings at the same time, which share the cores")
    run.add_argument("--retry-failed", action="store_true")
    run.set_defaults(command=_run)
    # What `run` starts a process of its own with, for each training.
    one = commands.add_parser("one", help="train one row with one seed, in a folder that `run` has prepared")
    one.add_argument("--dataset", choices=DATASETS, required=True)
    one.add_argument("--row", choices=TRAINERS, required=True)
    one.add_argument("--seed", type=int, required=True)
    one.set_defaults(command=_one)
    report = commands.add_parser("report", help="compare the complete seeds")
    report.set_defaults(command=_report)
    for command in (run, one, report):
        command.add_argument("--work", type=Path, required=True, help="folder of the trainings and their results")
    for command in (run, one):
        command.add_argument("--device", default="cpu", help="of PyTorch: cpu, cuda or mps")
    return parser


if __name__ == "__main__":
    sys.exit(main())
