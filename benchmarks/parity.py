"""The gate before every benchmark: a wrong scan has no speed, so nothing is reported unless this package's is right."""

import subprocess
import sys
from pathlib import Path

from benchmarks.machine import ROOT
from nnunetv2_mamba.ops.backends import Call
from nnunetv2_mamba.ops.scan.registry import REGISTRY


def require_tests(folder: Path = ROOT / "tests" / "ops", device: str = "cpu") -> None:
    """Run the parity tests in a process of their own.

    Args:
        folder: of the tests.
        device: torch device type; for ``cuda`` only the tests that need one, since the others say nothing about it.

    Raises:
        SystemExit: one fails, or pytest is missing.
    """
    line = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(folder)]
    line += ["-m", "gpu"] if device == "cuda" else []
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(
            f"{done.stdout[-4000:]}{done.stderr[-2000:]}\n"
            "The parity tests fail, so nothing is measured: a wrong scan has no speed."
        )


def require_self_checks(device: str = "cpu") -> dict[str, float]:
    """Compare every backend of the scan that can run on a device with the reference.

    Returns:
        Largest relative error of each.

    Raises:
        SystemExit: one is wrong.
    """
    errors = {}
    for name, backend in REGISTRY.backends.items():
        if backend.unavailable(device) or backend.unsupported(Call(device)):
            continue
        errors[name] = error = backend.self_check(device)
        if not error <= REGISTRY.tolerance:
            raise SystemExit(
                f"backend {name} is off by {error:.1e} against the reference (allowed {REGISTRY.tolerance:.0e}), "
                "so nothing is measured: a wrong scan has no speed."
            )
    return errors
