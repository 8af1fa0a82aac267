"""How an op chooses among its implementations: who is asked in which order, who is refused, and why.

A backend is a small object that can say why it is out (`unavailable`, `unsupported`); the choice is the first one that
is not. Before its first use on a device it is checked against the reference. Nothing is swallowed: every refusal has a
reason, kept for ``nnunetv2_mamba doctor`` and repeated in the error if that backend is forced. A refusal that
may pass, such as one for want of memory, is not kept for good: `passing` says when the backend is tried again.
"""

import logging
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from textwrap import shorten
from types import MappingProxyType
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

from nnunetv2_mamba.ops.passing import Verdict, Verdicts, remedy_if_passing

logger = logging.getLogger(__name__)

BACKEND_VARIABLE = "NNUNETV2_MAMBA_BACKEND"


class BackendError(RuntimeError):
    """A backend was forced that does not exist or cannot run; the message says which and why."""


@dataclass(frozen=True)
class Call:
    """What a backend must know of a call to accept it.

    Attributes:
        device: torch device type, such as ``"cpu"`` or ``"cuda"``.
        dtype: the dtype that is computed in, float32 or float64.
        d_state: N of the scan, filter width of the convolution.
        index_bits: how many bits it takes to count the elements of the largest tensor, 32 or 64.
        channels_last: whether channels lie side by side in memory.
    """

    device: str
    dtype: torch.dtype = torch.float32
    d_state: int = 16
    index_bits: int = 32
    channels_last: bool = True


class Backend(Protocol):
    """One implementation of an op.

    Contract: `unavailable` answers for this machine with a reason that lasts, and raises an error that may pass
    (`passing.remedy_if_passing`); `unsupported` answers for one call and is cheap; `self_check` compares with the
    reference on the given device, forwards and backwards, and returns the largest error relative to the size of what
    is compared.
    """

    name: str

    def unavailable(self, device: str) -> str | None:
        """Reason why it cannot run on this machine and device type, or None."""
        ...

    def unsupported(self, call: Call) -> str | None:
        """Reason why it cannot serve this call, or None."""
        ...

    def self_check(self, device: str) -> float:
        """Largest relative error against the reference on small and large shapes."""
        ...


AnyBackend = TypeVar("AnyBackend", bound=Backend)

_registries: "list[BackendRegistry]" = []


@dataclass(frozen=True)
class Decision:
    """What became of one backend of one op.

    Attributes:
        op: name of the op.
        backend: name of the backend.
        chosen: whether calls of this kind go to it.
        reason: why it was chosen, not needed or refused.
        error: largest relative error of its self-check, None where it was not checked.
        slow: how slow it is where others were made for the device; None where it is not.
        remedy: what to do about a refusal that may pass; None where there is none, or where it lasts.
    """

    op: str
    backend: str
    chosen: bool
    reason: str
    error: float | None = None
    slow: str | None = None
    remedy: str | None = None


class BackendRegistry(Generic[AnyBackend]):
    """The backends of one op in order of preference.

    Args:
        op: name of the op, for messages.
        backends: most preferred first.
        tolerance: largest relative error a self-check may show.
        first: names of those that are to be preferred to the others for a call.
        slow: device types, and the names of the backends that stand in there until a faster one works.
        slowness: how slow those are, as in "it takes ...".
        clock: seconds since any moment.
    """

    def __init__(
        self,
        op: str,
        backends: Sequence[AnyBackend],
        tolerance: float = 1e-4,
        first: Callable[[Call], Sequence[str]] = lambda call: (),
        slow: Mapping[str, Collection[str]] = MappingProxyType({}),
        slowness: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.op = op
        self.first = first
        self.backends = {backend.name: backend for backend in backends}
        self.tolerance = tolerance
        self.slow = slow
        self.slowness = slowness
        self._verdicts = Verdicts(clock)
        self._serving: dict[Call, str] = {}
        self._said_slow: set[tuple[str, torch.dtype]] = set()

    def refusal(self, name: str, call: Call) -> str | None:
        """Why a backend cannot serve a call, or None; runs the self-check once everything else allows the backend."""
        return self._verdict(name, call).reason

    def select(self, call: Call, forced: str | None = None) -> str:
        """Name of the backend for a call.

        Args:
            call: device, dtype and size.
            forced: a backend's name; without it the environment variable NNUNETV2_MAMBA_BACKEND counts, which leaves
                ops alone that have no backend of that name while another op has.

        Raises:
            BackendError: the forced backend is unknown or cannot run here.
        """
        if forced is not None:
            return self._force(forced, call, "backend=")
        name = self._choose(call)
        if self._serving.get(call) != name:
            self._announce(name, call)
        return name

    def forced(self) -> str | None:
        """The name in NNUNETV2_MAMBA_BACKEND, None where it is not set or is a backend of other ops only."""
        variable = os.environ.get(BACKEND_VARIABLE)
        return variable if variable and (variable in self.backends or variable not in known_backends()) else None

    def explain(self, call: Call) -> list[Decision]:
        """What becomes of every backend for a call, in order of preference."""
        chosen: str | None = None
        with suppress(BackendError):  # the variable forces one that cannot run: then none is chosen
            chosen = self._choose(call)
        decisions = []
        for name in self.backends:
            verdict = self._verdict(name, call)
            reason = "works, not preferred" if chosen else "works, but the variable forces another"
            if verdict.reason:
                reason = f"rejected{' for now' if verdict.remedy else ''}: {verdict.reason}"
            if name == chosen:
                reason = "chosen"
            slow = self.slowness if name in self.slow.get(call.device, ()) else None
            decisions.append(Decision(self.op, name, name == chosen, reason, verdict.error, slow, verdict.remedy))
        return decisions

    def _choose(self, call: Call) -> str:
        if variable := self.forced():
            return self._force(variable, call, BACKEND_VARIABLE + "=")
        for name in self._preferred(call):
            if self.refusal(name, call) is None:
                return name
        raise BackendError(f"no backend of {self.op} can serve {call}")

    def _preferred(self, call: Call) -> list[str]:
        return list(dict.fromkeys([*self.first(call), *self.backends]))

    def _force(self, name: str, call: Call, how: str) -> str:
        if name not in self.backends:
            raise BackendError(f"{how}{name}: {self.op} has no backend of that name, only {', '.join(self.backends)}")
        verdict = self._verdict(name, call)
        if verdict.reason:
            remedy = f": {verdict.remedy}" if verdict.remedy else ""
            raise BackendError(f"{how}{name}: {self.op} cannot use it here because {verdict.reason}{remedy}")
        return name

    def _announce(self, name: str, call: Call) -> None:
        """Say that calls of a kind go to another backend than before, and once a device that they go to a slow one."""
        before, self._serving[call] = self._serving.get(call), name
        if before:
            logger.warning("%s on %s: %s from now on, instead of %s", self.op, call.device, name, before)
        kind = (call.device, call.dtype)
        if name not in self.slow.get(call.device, ()) or name == self.forced() or kind in self._said_slow:
            return
        self._said_slow.add(kind)
        preferred = self._preferred(call)
        faster = [f"{other}: {self.refusal(other, call)}" for other in preferred[: preferred.index(name)]]
        why = "; ".join(faster)
        logger.warning("%s on %s: %s, which takes %s; %s", self.op, call.device, name, self.slowness, why)

    def _verdict(self, name: str, call: Call) -> Verdict:
        backend = self.backends[name]
        # A broken package would be imported, and fail, at every call.
        there = self._verdicts.get((backend, call.device, "there"), partial(self._look_for, backend, call.device))
        if there.reason:
            return there
        if reason := backend.unsupported(call):
            return Verdict(reason)
        return self._verdicts.get((backend, call.device, "right"), partial(self._check, backend, call.device))

    def _look_for(self, backend: AnyBackend, device: str) -> Verdict:
        # As for the self-check: whatever it raises is the reason.
        try:
            return Verdict(backend.unavailable(device))
        except Exception as failure:
            return self._refuse(backend, device, f"it does not load: {_in_one_line(failure)}", failure)

    def _check(self, backend: AnyBackend, device: str) -> Verdict:
        # A backend that does not even run must cost a reason, not the training: whatever it raises is that reason.
        try:
            error = _undisturbed(partial(backend.self_check, device))
        except Exception as failure:
            return self._refuse(backend, device, f"its self-check failed with {_in_one_line(failure)}", failure)
        if error <= self.tolerance:
            return Verdict(error=error)
        return self._refuse(
            backend, device, f"its self-check is off by {error:.1e} (allowed {self.tolerance:.0e})", error=error
        )

    def _refuse(
        self,
        backend: AnyBackend,
        device: str,
        reason: str,
        failure: Exception | None = None,
        error: float | None = None,
    ) -> Verdict:
        remedy = None if failure is None else remedy_if_passing(failure)
        how = "rejected for now, and tried again later" if remedy else "rejected"
        logger.warning("%s: backend %s on %s %s: %s", self.op, backend.name, device, how, reason)
        return Verdict(reason, error, remedy)


def publish(registry: "BackendRegistry[AnyBackend]") -> "BackendRegistry[AnyBackend]":
    """Make the registry of an op one of those that `explain` and `known_backends` know."""
    _registries.append(registry)
    return registry


def check_kinds(op: str, tensors: Sequence[Tensor | None]) -> None:
    """Raise a ValueError where tensors lie on different devices or are not of real floating-point numbers."""
    given = [tensor for tensor in tensors if tensor is not None]
    if len(devices := {str(tensor.device) for tensor in given}) > 1:
        raise ValueError(f"the tensors of the {op} lie on {' and '.join(sorted(devices))}; move them to one device")
    if odd := [tensor.dtype for tensor in given if not tensor.dtype.is_floating_point]:
        raise ValueError(f"a tensor of the {op} is {odd[0]}; real floating-point numbers are needed")


def explain(device: str) -> list[Decision]:
    """What becomes of every backend of every op on a device type, for people who ask why it is slow.

    Args:
        device: torch device type, such as ``"cpu"`` or ``"cuda"``.
    """
    return [decision for registry in _registries for decision in registry.explain(Call(device))]


def known_backends() -> set[str]:
    """Names of all backends of all ops."""
    return {name for registry in _registries for name in registry.backends}


def _in_one_line(error: Exception) -> str:
    # A compiler's errors run over pages.
    return f"{type(error).__name__}: {shorten(str(error), 500, placeholder=' ...')}"


def _undisturbed(check: Callable[[], float]) -> float:
    """Call a function in a thread of its own.

    The first call of an op may come from anywhere: under inference mode or autocast, from a tracer, a checkpointed
    block, a transformed function. What these do to tensors they do in their own thread.
    """
    device = torch.cuda.current_device() if torch.cuda.is_initialized() else None

    def run() -> float:
        with nullcontext() if device is None else torch.cuda.device(device):
            return check()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(run).result()
