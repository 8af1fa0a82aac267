"""The backend of the scans in a training: it is logged, and refused if it is needlessly slow on a GPU."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from nnunetv2_mamba.ops import Decision
from nnunetv2_mamba.ops.backends import BACKEND_VARIABLE, BackendRegistry, Call
from nnunetv2_mamba.ops.passing import PAUSES
from nnunetv2_mamba.ops.scan.registry import REGISTRY

PATIENCE = PAUSES[:2]
"""Seconds that a training waits at its start before it tries a backend again after a failure that may be temporary."""


class SlowScanError(RuntimeError):
    """The scans of a training on a GPU would run on plain PyTorch; the message says why and what to do."""


def scan_backend_for_training(
    device: str, registry: BackendRegistry[Any] = REGISTRY, sleep: Callable[[float], None] = time.sleep
) -> str:
    """Choose the backend of the scans, before the first step of a training.

    Only the scan is checked: the causal convolution can always use PyTorch's own convolution.

    Args:
        device: torch device type.
        registry: backends of the scan.
        sleep: waits for some seconds.

    Returns:
        One line for the log.

    Raises:
        SlowScanError: the backend is plain PyTorch on CUDA, and NNUNETV2_MAMBA_BACKEND does not name it.
        BackendError: NNUNETV2_MAMBA_BACKEND names a backend that cannot run.
    """
    call = Call(device)
    # Backends that failed are tried again only where no gradients are recorded.
    with torch.no_grad():
        decisions = registry.explain(call)
        for seconds in PATIENCE:
            if not may_get_faster(decisions):
                break
            sleep(seconds)
            decisions = registry.explain(call)
        registry.select(call)
    if reason := refusal_to_train(decisions, device, registry.forced()):
        raise SlowScanError(reason)
    return describe_choice(decisions, device, registry.forced())


def may_get_faster(decisions: Sequence[Decision]) -> bool:
    """Whether no fast backend was chosen, and one was refused for a reason that may be temporary.

    Args:
        decisions: on all backends of the scan, in order of preference.
    """
    served = any(decision.chosen and not decision.slow for decision in decisions)
    return not served and any(decision.remedy for decision in decisions)


def is_refused(chosen: Decision, device: str, forced: str | None) -> bool:
    """Whether a training must not start on a backend.

    Args:
        chosen: the decision for it.
        device: torch device type.
        forced: the backend that NNUNETV2_MAMBA_BACKEND names.
    """
    return device == "cuda" and chosen.slow is not None and chosen.backend != forced


def refusal_to_train(decisions: Sequence[Decision], device: str, forced: str | None) -> str | None:
    """Why a training must not start, in one sentence; None if it may.

    Args:
        decisions: on all backends of the scan, in order of preference; one is chosen.
        device: torch device type.
        forced: the backend that NNUNETV2_MAMBA_BACKEND names.
    """
    chosen = _chosen(decisions)
    if not is_refused(chosen, device, forced):
        return None
    remedies = dict.fromkeys(decision.remedy for decision in decisions if decision.remedy)
    return (
        f"{chosen.op} on {device} would run on {_slow(chosen)}, since {_refused(decisions)}: "
        f"{', or '.join([*remedies, 'follow `nnUNetv2_mamba doctor`'])}, or train with -device cpu, or set "
        f"{BACKEND_VARIABLE}={chosen.backend} to train with it anyway."
    )


def describe_choice(decisions: Sequence[Decision], device: str, forced: str | None) -> str:
    """The backend of the scans, in one line, with a warning if it is slow.

    Args:
        decisions: on all backends of the scan, in order of preference; one is chosen.
        device: torch device type.
        forced: the backend that NNUNETV2_MAMBA_BACKEND names.
    """
    chosen = _chosen(decisions)
    by_name = f", as {BACKEND_VARIABLE} says" if chosen.backend == forced else ""
    if not chosen.slow:
        return f"{chosen.op} on {device}: {chosen.backend}{by_name}"
    why = by_name or f", since {_refused(decisions)}: follow `nnUNetv2_mamba doctor`"
    return f"WARNING: {chosen.op} on {device}: {_slow(chosen)}{why}"


def _chosen(decisions: Sequence[Decision]) -> Decision:
    return next(decision for decision in decisions if decision.chosen)


def _slow(decision: Decision) -> str:
    return f"{decision.backend}, which takes {decision.slow}"


def _refused(decisions: Sequence[Decision]) -> str:
    """Every backend that is faster than the chosen one, with the reason against it."""
    faster = decisions[: decisions.index(_chosen(decisions))]
    return ", ".join(f"{decision.backend} is {decision.reason}" for decision in faster)
