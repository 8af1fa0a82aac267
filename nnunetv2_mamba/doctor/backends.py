"""Which devices there are, and which implementation of each op they would get."""

import os
from typing import Any

from nnunetv2_mamba.doctor.finding import Finding, Status

# How to get the backend that is made for a device where the chosen one is slow.
FASTER = {
    ("selective_scan", "cuda"): "pip install --no-build-isolation 'nnunetv2-mamba[cuda]'",
    ("selective_scan", "cpu"): "pip install --force-reinstall numba",
}


def device_types() -> list[str]:
    """Device types that torch can use here, the fastest first."""
    import torch

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return [device for device, there in available.items() if there]


def check_devices() -> list[Finding]:
    """One finding a device type."""
    import torch

    names = {
        "cuda": lambda: ", ".join(torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())),
        "mps": lambda: "Apple GPU",
        "cpu": lambda: f"{torch.get_num_threads()} threads",
    }
    findings = [Finding(Status.OK, f"{device}: {names[device]()}") for device in device_types()]
    if torch.version.cuda and not torch.cuda.is_available():
        text = f"torch was built for CUDA {torch.version.cuda}, but finds no usable GPU: train with -device cpu"
        findings.append(Finding(Status.OK, text))
    return findings


def check_backends() -> list[Finding]:
    """Every backend of every op on every device: chosen or rejected and why, with the error of its self-check."""
    from nnunetv2_mamba.ops import explain

    return [finding for device in device_types() for finding in judge(device, explain(device))]


def judge(device: str, decisions: list) -> list[Finding]:
    """Findings from what became of the backends on one device.

    Args:
        device: torch device type.
        decisions: `nnunetv2_mamba.ops.Decision`, of any number of ops.
    """
    from nnunetv2_mamba.ops.backends import BACKEND_VARIABLE

    forced = os.environ.get(BACKEND_VARIABLE)
    findings = [judge_one(decision, device, forced) for decision in decisions]
    served = {decision.op for decision in decisions if decision.chosen}
    for op in dict.fromkeys(decision.op for decision in decisions if decision.op not in served):
        text = f"{op} on {device}: no backend can serve it" + (f" while {BACKEND_VARIABLE}={forced}" if forced else "")
        findings.append(Finding(Status.FAIL, text, f"unset {BACKEND_VARIABLE}" if forced else "pip install -U torch"))
    return findings


def judge_one(decision: Any, device: str, forced: str | None) -> Finding:
    """The finding from what became of one backend.

    Args:
        decision: a `nnunetv2_mamba.ops.Decision`.
        device: torch device type.
        forced: the backend that the user forces, None where there is none.
    """
    from nnunetv2_mamba.ops.backends import BACKEND_VARIABLE
    from nnunetv2_mamba.training.safety.scan_backend import is_refused

    text = f"{decision.op} on {device}: {decision.backend}: {decision.reason}"
    if decision.error is not None:
        text += f" (self-check: largest relative error {decision.error:.1e})"
    if decision.remedy:
        return Finding(Status.WARN, text, decision.remedy)
    if not (decision.chosen and decision.slow):
        return Finding(Status.OK, text)
    text += f", and takes {decision.slow}"
    if forced == decision.backend:
        return Finding(Status.WARN, text, f"unset {BACKEND_VARIABLE}")
    remedy = remedy_for_slow(decision.op, device)
    if not is_refused(decision, device, forced):
        return Finding(Status.WARN, text, remedy)
    remedy += f"; or train with -device cpu; or set {BACKEND_VARIABLE}={decision.backend} to train like this"
    return Finding(Status.FAIL, text + ", so our trainers refuse to train on it", remedy)


def remedy_for_slow(op: str, device: str) -> str:
    """How to get a faster backend than the chosen one.

    Args:
        op: name of the op.
        device: torch device type.
    """
    why = "see the lines above for why the faster backends are out"
    faster = FASTER.get((op, device))
    return f"{faster}; {why}" if faster else why
