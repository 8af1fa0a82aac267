"""Which devices there are, and which implementation of each op they would get."""

import os
from typing import Any

from nnunetv2_mamba.doctor.finding import Finding, Status

# Where the plain torch backend is slow, and how to get the one made for that device. Apple GPUs have no other.
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
    findings = []
    for decision in decisions:
        text = f"{decision.op} on {device}: {decision.backend}: {decision.reason}"
        if decision.error is not None:
            text += f" (self-check: largest relative error {decision.error:.1e})"
        remedy = remedy_for_slow(decision, device, forced)
        status = Status.WARN if remedy else Status.OK
        findings.append(Finding(status, text + (", and slow" if remedy else ""), remedy))
    served = {decision.op for decision in decisions if decision.chosen}
    for op in dict.fromkeys(decision.op for decision in decisions if decision.op not in served):
        text = f"{op} on {device}: no backend can serve it" + (f" while {BACKEND_VARIABLE}={forced}" if forced else "")
        findings.append(Finding(Status.FAIL, text, f"unset {BACKEND_VARIABLE}" if forced else "pip install -U torch"))
    return findings


def remedy_for_slow(decision: Any, device: str, forced: str | None) -> str:
    """How to get a faster backend than the chosen one; empty where it was not chosen or none is faster.

    Args:
        decision: a `nnunetv2_mamba.ops.Decision`.
        device: torch device type.
        forced: the backend that the user forces, None where there is none.
    """
    from nnunetv2_mamba.ops.backends import BACKEND_VARIABLE

    faster = FASTER.get((decision.op, device))
    slow = decision.backend == "reference" or (decision.backend == "torch" and faster is not None)
    if not (decision.chosen and slow):
        return ""
    if forced == decision.backend:
        return f"unset {BACKEND_VARIABLE}"
    why = "see the lines above for why the faster backends are out"
    return f"{faster}; {why}" if faster else why
