"""``python -m benchmarks``: what there is; ``python -m benchmarks scan step``, or ``all``, measures and keeps it.

Before anything is measured, the parity tests of the ops and the self-checks of the backends must pass. Figures are kept
in ``benchmarks/results`` as soon as a benchmark is done, and its tables in ``docs/performance.md`` with them.
``python -m benchmarks all --resume`` leaves out what was already measured with the present code; ``python -m benchmarks
docs`` only writes the tables.
"""

import argparse

from benchmarks.machine import ROOT, Options
from benchmarks.performance_page import write_pages
from benchmarks.runner import BENCHMARKS, CPU_ONLY, OTHERS, measure, module


def main() -> None:
    """Parse the command line and do what it says."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(BENCHMARKS)}; or all, or docs")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--quick", action="store_true", help="small shapes, self-checks only, nothing is kept")
    parser.add_argument("--resume", action="store_true", help="leave out what was measured with the present code")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.names if name not in (*BENCHMARKS, "all", "docs")]:
        parser.error(f"there is no benchmark {unknown[0]}: choose among {', '.join(BENCHMARKS)}, all and docs")
    if not arguments.names:
        listing()
    elif arguments.names != ["docs"]:
        everything = [name for name in BENCHMARKS if arguments.device == "cpu" or name not in CPU_ONLY]
        names = everything if "all" in arguments.names else arguments.names
        failed = measure(names, Options(arguments.device, arguments.quick), arguments.resume)
        if failed:
            raise SystemExit(f"failed: {', '.join(failed)}; what else was measured is kept.")
    if arguments.names and not arguments.quick:
        print(f"tables written to {', '.join(str(path.relative_to(ROOT)) for path in write_pages())}")


def listing() -> None:
    """Print what there is."""
    for name in BENCHMARKS:
        print(f"python -m benchmarks {name:<15} {summary(name)}")
    print("\nmore, with arguments of their own:")
    for name in OTHERS:
        print(f"python -m benchmarks.{name:<15} {summary(name)}")


def summary(name: str) -> str:
    """First sentence of a benchmark's docstring."""
    first = " ".join((module(name).__doc__ or "").partition("\n\n")[0].split())
    return first.partition("``: ")[2] or first


if __name__ == "__main__":
    main()
