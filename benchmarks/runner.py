"""Runs benchmarks: the gate once, each in a process of its own, figures kept as soon as they are there."""

import importlib
import json
import sys
import time
import traceback
from collections.abc import Sequence
from types import ModuleType

from benchmarks.machine import Options, code_digest, keep, result_path
from benchmarks.parity import require_self_checks, require_tests
from benchmarks.performance_page import write_pages
from benchmarks.processes import in_fresh_process

BENCHMARKS = ("limits", "scan", "step", "prediction", "image_size")
"""Those of docs/performance.md, one module each."""
CPU_ONLY = ("limits",)
OTHERS = ("gpu_step", "rfac", "evaluation", "learning_rate", "tcma_effect", "ablation")
"""Programs of their own, with arguments of their own."""


def module(name: str) -> ModuleType:
    """A benchmark: `measure(options)` gives figures, `tables(figures)` shows them."""
    return importlib.import_module(f"benchmarks.{name}")


def run(name: str, options: Options) -> None:
    """Measure in this process, which should be fresh, keep the figures and print the tables."""
    started = time.perf_counter()
    results = json.loads(json.dumps(module(name).measure(options)))
    if not options.quick:
        results["minutes"] = round((time.perf_counter() - started) / 60, 1)
        path = keep(name, results, options.device)
        print(f"kept as {path.name}\n")
    for table in module(name).tables(results):
        print(table.text())


def is_current(name: str, device: str) -> bool:
    """Whether the kept figures are of the present code."""
    path = result_path(name, device)
    return path.exists() and json.loads(path.read_text())["machine"].get("code") == code_digest()


def measure(names: Sequence[str], options: Options, resume: bool) -> list[str]:
    """Pass the gate once, measure each in a process of its own, and go on when one fails.

    Returns:
        Names of those that failed.
    """
    wanted = [name for name in names if not (resume and is_current(name, options.device))]
    if not wanted:
        return []
    print("checking the scans first", flush=True)
    if not options.quick:
        require_tests(device=options.device)
    in_fresh_process(require_self_checks, options.device)
    failed = []
    for name in wanted:
        print(f"\nmeasuring: {name}", flush=True)
        try:
            in_fresh_process(run, name, options)
        except Exception:
            traceback.print_exc(file=sys.stdout)
            failed.append(name)
        if not options.quick:
            write_pages()
    return failed
