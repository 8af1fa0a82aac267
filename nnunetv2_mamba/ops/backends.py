"""How an op chooses among its implementations: who is asked in which order, who is refused, and why.

A backend is a small object that can say why it is out (`unavailable`, `unsupported`); the choice is the first one that
is not. Before its first use on a device it is checked against the reference. Nothing is swallowed: every refusal has a
reason, kept for ``nnunetv2_mamba doctor`` and repeated in the error when somebody forces that backend.
"""

import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

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

    Contract: `unavailable` answers for this machine and never raises; `unsupported` answers for one call and is cheap;
    `self_check` compares with the reference on the given device, forwards and backwards, and returns the largest error
    relative to the size of what is compared.
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


@dataclass(frozen=True)
class Decision:
    """What became of one backend of one op.

    Attributes:
        op: name of the op.
        backend: name of the backend.
        chosen: whether calls of this kind go to it.
        reason: why it was chosen, not needed or refused.
        error: largest relative error of its self-check, None where it was not checked.
    """

    op: str
    backend: str
    chosen: bool
    reason: str
    error: float | None = None


class BackendRegistry(Generic[AnyBackend]):
    """The backends of one op in order of preference.

    Args:
        op: name of the op, for messages.
        backends: most preferred first.
        tolerance: largest relative error a self-check may show.
        first: names of those that are to be preferred to the others for a call.
    """

    def __init__(
        self,
        op: str,
        backends: Sequence[AnyBackend],
        tolerance: float = 1e-4,
        first: Callable[[Call], Sequence[str]] = lambda call: (),
    ) -> None:
        self.op = op
        self.first = first
        self.backends = {backend.name: backend for backend in backends}
        self.tolerance = tolerance
        self._unavailable: dict[tuple[AnyBackend, str], str | None] = {}
        self._checked: dict[tuple[AnyBackend, str], tuple[str | None, float | None]] = {}

    def refusal(self, name: str, call: Call) -> str | None:
        """Why a backend cannot serve a call, or None; runs the self-check once everything else allows the backend."""
        backend = self.backends[name]
        key = (backend, call.device)
        if key not in self._unavailable:  # a broken package would be imported, and fail, at every call
            self._unavailable[key] = backend.unavailable(call.device)
        return self._unavailable[key] or backend.unsupported(call) or self._check(backend, call.device)[0]

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
        variable = os.environ.get(BACKEND_VARIABLE)
        if variable and (variable in self.backends or variable not in known_backends()):
            return self._force(variable, call, BACKEND_VARIABLE + "=")
        for name in dict.fromkeys([*self.first(call), *self.backends]):
            if self.refusal(name, call) is None:
                return name
        raise BackendError(f"no backend of {self.op} can serve {call}")

    def explain(self, call: Call) -> list[Decision]:
        """What becomes of every backend for a call, in order of preference."""
        chosen: str | None = None
        with suppress(BackendError):  # the variable forces one that cannot run: then none is chosen
            chosen = self.select(call)
        decisions = []
        for name, backend in self.backends.items():
            reason = self.refusal(name, call)
            verdict = "chosen" if name == chosen else f"rejected: {reason}" if reason else "works, not preferred"
            if chosen is None and reason is None:
                verdict = "works, but the variable forces another"
            error = self._checked.get((backend, call.device), (None, None))[1]
            decisions.append(Decision(self.op, name, name == chosen, verdict, error))
        return decisions

    def _force(self, name: str, call: Call, how: str) -> str:
        if name not in self.backends:
            raise BackendError(f"{how}{name}: {self.op} has no such backend, only {', '.join(self.backends)}")
        if reason := self.refusal(name, call):
            raise BackendError(f"{how}{name}: {self.op} cannot use it here because {reason}")
        return name

    def _check(self, backend: AnyBackend, device: str) -> tuple[str | None, float | None]:
        key = (backend, device)
        if key not in self._checked:
            # A backend that does not even run must cost a reason, not the training: whatever it raises is that reason.
            try:
                error = _undisturbed(partial(backend.self_check, device))
                wrong = not error <= self.tolerance
                reason = f"its self-check is off by {error:.1e} (allowed {self.tolerance:.0e})" if wrong else None
            except torch.OutOfMemoryError as failure:  # says nothing about the backend, and may not last
                return f"there was no memory for its self-check: {failure}", None
            except Exception as failure:
                error, reason = None, f"its self-check failed with {type(failure).__name__}: {failure}"
            if reason:
                logger.warning("%s: backend %s on %s rejected: %s", self.op, backend.name, device, reason)
            self._checked[key] = (reason, error)
        return self._checked[key]


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
    return [decision for registry in _registries() for decision in registry.explain(Call(device))]


def known_backends() -> set[str]:
    """Names of all backends of all ops."""
    return {name for registry in _registries() for name in registry.backends}


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


def _registries() -> tuple[BackendRegistry, ...]:
    from nnunetv2_mamba.ops.convolution.registry import REGISTRY as causal_conv1d
    from nnunetv2_mamba.ops.scan.registry import REGISTRY as selective_scan

    return selective_scan, causal_conv1d
