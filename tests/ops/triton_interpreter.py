"""Runs the Triton kernels in Triton's interpreter, on the CPU, and prints what came out as JSON.

A process of its own, started by test_triton.py: whether kernels are compiled or interpreted is settled when they are
imported.
"""

import json
import mmap
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

os.environ["TRITON_INTERPRET"] = "1"

import torch
import triton.language as tl
from torch import Tensor

from nnunetv2_mamba.ops import cross_selective_scan, selective_scan
from nnunetv2_mamba.ops.backends import BackendRegistry, Call
from nnunetv2_mamba.ops.scan import library, self_check, triton_backward, triton_forward, triton_plan, triton_tiles
from nnunetv2_mamba.ops.scan.backends.reference import ReferenceBackend, grid_scan_reference
from nnunetv2_mamba.ops.scan.backends.triton import TritonBackend
from nnunetv2_mamba.ops.scan.contract import CHUNK, ScanArguments
from nnunetv2_mamba.ops.scan.orders import cyclic_axis_orders, visiting_orders
from tests.ops.quick_interpreter import make_quick


def inputs(
    grid: tuple[int, ...] = (5, 9), batch: int = 1, channels: int = 5, groups: int = 1, d_state: int = 2,
    dtype: torch.dtype = torch.float32, without: tuple[str, ...] = (), layout: str = "last", directions: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """Drawn arguments of `grid_scan_reference`; those that may be half precision have already been rounded to it."""
    generator = torch.Generator().manual_seed(1)
    length, directions = torch.Size(grid).numel(), directions or 2 * len(grid)

    def draw(*shape):
        return torch.randn(shape, generator=generator)

    def sequence(*shape):
        *rest, width = shape
        if layout == "first":
            return draw(*rest, width, length).to(dtype)
        if layout == "sliced":
            return draw(*rest, 2 * length, 2 * width)[..., ::2, 1::2].transpose(-1, -2).to(dtype)
        return draw(*rest, length, width).transpose(-1, -2).to(dtype)

    projection = (batch, directions, groups, d_state)
    arguments = {
        "u": sequence(batch, channels),
        "delta": sequence(batch, directions, channels),
        "A": -draw(directions, channels, d_state).exp(),
        "B": sequence(*projection),
        "C": sequence(*projection),
        "D": draw(directions, channels),
        "delta_bias": draw(directions, channels),
        "z": sequence(batch, channels),
    }
    if "softplus" in without:  # steps below zero let states grow beyond all limits
        arguments |= {name: arguments[name].abs() for name in ("delta", "delta_bias")}
    orders = visiting_orders(grid, cyclic_axis_orders(len(grid)), directions)
    softplus = {"delta_softplus": "softplus" not in without, "orders": orders}
    return {name: None if name in without else tensor for name, tensor in arguments.items()} | softplus


def errors(
    arguments: dict[str, Any], save_states: bool = True, place: Callable[[Tensor], Tensor] = lambda tensor: tensor
) -> dict[str, float]:
    """Root mean square error of the output and of every gradient against the reference, relative to its size.

    Args:
        arguments: of the reference.
        save_states: whether the gradients are wanted.
        place: puts a tensor with positions somewhere else in memory.
    """
    leaves = {
        name: value.double().requires_grad_() if isinstance(value, Tensor) and value.is_floating_point() else value
        for name, value in arguments.items()
    }
    expected = grid_scan_reference(ScanArguments(**leaves))
    dy = torch.linspace(-1, 1, expected.numel()).view_as(expected)
    tensors = {name: value for name, value in leaves.items() if isinstance(value, Tensor) and value.requires_grad}
    gradients = dict(zip(tensors, torch.autograd.grad(expected, list(tensors.values()), dy.double()), strict=True))

    placed = {name: place(arguments[name]) for name in ("u", "delta", "B", "C", "z") if arguments[name] is not None}
    backend, scan = TritonBackend(), ScanArguments(**arguments | placed)
    batch, channels, length = scan.u.shape
    directions, _, d_state = scan.A.shape
    y, dy = place(torch.full_like(scan.u, torch.nan, dtype=torch.float32)), place(dy)
    chunks = -(-length // CHUNK) if save_states else 0
    states = torch.full((batch, directions, chunks, d_state, channels), torch.nan)
    backend.forward(scan, y, states)
    found = {"y": _error(expected, y)}
    if save_states:
        grads = library._gradients(scan)
        for grad in grads:
            grad.fill_(torch.nan)
        grads = tuple(grad if grad.shape[-1:] != scan.u.shape[-1:] or grad.ndim < 3 else place(grad) for grad in grads)
        backend.backward(scan, dy, states, grads)
        named = zip(("u", "delta", "A", "B", "C", "D", "delta_bias", "z"), grads, strict=True)
        found |= {"d" + name: _error(gradients[name], grad) for name, grad in named if name in gradients}
    return found


def _error(expected: Tensor, found: Tensor) -> float:
    error = (expected.detach() - found.double()).pow(2).mean().sqrt()
    return float(error / (expected.detach().pow(2).mean().sqrt() + 1e-30))


def far_apart(tensor: Tensor) -> Tensor:
    """The same numbers, 2**30 elements from one position to the next, in memory that is never touched in between."""
    stride, dtype = 2**30, tensor.dtype
    reserved = mmap.mmap(
        -1, tensor.shape[-1] * stride * dtype.itemsize, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
    )
    strides = torch.empty(tensor.shape[:-1]).stride()
    return torch.frombuffer(reserved, dtype=dtype).as_strided(tensor.shape, (*strides, stride)).copy_(tensor)


_MAP_NORESERVE = 0x4000  # Linux; Python's mmap has no name for it


@contextmanager
def planned(**replaced: Any) -> Iterator[None]:
    """Another cut into segments or slots than the machine asks for."""
    with patch.multiple(triton_plan, **replaced):
        yield


def parity() -> dict[str, Callable[[], Any]]:
    """Every option, layout, dtype, cut and size, small: name and what to run."""
    half, brain = torch.float16, torch.bfloat16
    cases: dict[str, dict[str, Any]] = {
        "plain": {}, "one position": {"grid": (1, 1), "channels": 1, "d_state": 1}, "line": {"grid": (70,)},
        "volume": {"grid": (3, 2, 7)}, "groups": {"channels": 6, "groups": 3}, "batch": {"batch": 3, "grid": (3, 5)},
        "wide": {"channels": 70, "grid": (37,), "directions": 1},
        "blocks": {"channels": 260, "groups": 2, "grid": (33,), "directions": 1},
        "many states": {"d_state": 40, "grid": (5,), "directions": 1},
        "float16": {"dtype": half}, "bfloat16": {"dtype": brain}, "channels first": {"layout": "first"},
        "sliced": {"layout": "sliced", "channels": 4}, "float16 channels first": {"layout": "first", "dtype": half},
    }  # fmt: skip
    options = {f"without {name}": {"without": (name,)} for name in ("D", "delta_bias", "z", "softplus")}
    options["without any option"] = {"without": ("D", "delta_bias", "z", "softplus")}
    most = {"d_state": 256, "grid": (5,), "directions": 1}
    return {
        **{name: lambda case=case: errors(inputs(**case)) for name, case in (cases | options).items()},
        "offsets beyond 32 bits": lambda: errors(inputs((5,), directions=1), place=far_apart),
        "the most states": lambda: errors(inputs(**most)),
    }


def cuts() -> dict[str, Callable[[], Any]]:
    """One segment or many, all directions at once or one after the other; inference."""

    def with_plan(processors: int, slot_bytes: int, **case: Any) -> dict[str, float]:
        with planned(processors=lambda device: processors, SLOT_BYTES=slot_bytes):
            return errors(inputs(**case))

    no_gate = {"without": ("z",)}
    return {
        "one segment": lambda: with_plan(0, 2**28, **no_gate),
        "many segments": lambda: with_plan(100, 2**28, grid=(13, 11), channels=2, **no_gate),
        "more segments than joined at once": lambda: with_plan(1000, 2**28, grid=(600,), channels=1, d_state=1),
        "one slot": lambda: with_plan(2, 0, **no_gate),
        "one slot and one segment": lambda: with_plan(0, 0, **no_gate),
        "many segments and a gate": lambda: with_plan(100, 0, grid=(70,)),
        "inference": lambda: errors(inputs(), save_states=False),
        "empty batch": empty_batch,
    }


def empty_batch() -> dict[str, float]:
    """Largest number of each gradient that is left without samples; the output has no elements."""
    scan = ScanArguments(**inputs(batch=0))
    y, states = torch.empty_like(scan.u), scan.u.new_empty(0, *scan.A.shape[:1], 2, *scan.A.mT.shape[1:])
    TritonBackend().forward(scan, y, states)
    grads = library._gradients(scan)
    for grad in grads:
        grad.fill_(torch.nan)
    TritonBackend().backward(scan, y, states, grads)
    of_parameters = zip(("dA", "dD", "dbias"), (grads[2], *grads[5:7]), strict=True)
    return {name: float(grad.abs().max()) for name, grad in of_parameters}


def public() -> dict[str, Callable[[], Any]]:
    """Through the public functions and the op, with the backend forced."""

    def scan(dtype: torch.dtype) -> dict[str, float]:
        case = inputs((9,), directions=1, dtype=dtype)
        u, delta, A, B, C, D, bias, z = list(case.values())[:8]
        single = [u, delta[:, 0], A[0], B[:, 0], C[:, 0], D[0], z, bias[0]]

        def run(backend: str, dtype: torch.dtype | None) -> list[Tensor]:
            own = [(leaf if dtype is None else leaf.to(dtype)).detach().requires_grad_() for leaf in single]
            y = selective_scan(*own, delta_softplus=True, backend=backend)
            return [y.detach(), *torch.autograd.grad(y.float().pow(2).sum(), own)]

        found, expected = run("triton", None), run("reference", torch.float32)
        assert [t.dtype for t in found] == [dtype, *(leaf.dtype for leaf in single)]
        names = ("y", "du", "ddelta", "dA", "dB", "dC", "dD", "dz", "dbias")
        return {name: _error(e.double(), f) for name, e, f in zip(names, expected, found, strict=True)}

    def cross() -> dict[str, float]:
        case = inputs((3, 5), without=("z",))
        grid = {name: case[name].unflatten(-1, (3, 5)) for name in ("u", "delta")}
        grid |= {name: case[name].squeeze(2).unflatten(-1, (3, 5)) for name in ("B", "C")}
        grid |= {name: case[name] for name in ("A", "D", "delta_bias")}
        y, expected = (
            cross_selective_scan(**grid, delta_softplus=True, backend=name) for name in ("triton", "reference")
        )
        return {"y": _error(expected.double(), y)}

    return {
        "selective_scan": lambda: scan(torch.float32),
        "selective_scan in float16": lambda: scan(torch.float16),
        "cross_selective_scan": cross,
    }


class _NothingLaunched:
    def __getitem__(self, grid):
        return lambda *arguments, **options: None


def broken() -> dict[str, Callable[[], Any]]:
    """Kernels with a deliberate error: what the self-check says of them."""

    def refused(module: Any, name: str, replacement: Any) -> dict[str, Any]:
        registry = BackendRegistry("broken", [TritonBackend(), ReferenceBackend()])
        # As many segments as there are chunks, so that what is handed on from one to the next matters.
        with patch.object(module, name, replacement), planned(processors=lambda device: 100):
            triton, reference = registry.explain(Call("cpu"))
        return {"chosen": "triton" if triton.chosen else reference.backend, "error": triton.error}

    around, after, gradients = (
        triton_backward.states_around, triton_forward.states_after, triton_backward.state_gradients,
    )  # fmt: skip
    slope, row = triton_backward.step_and_slope, triton_forward.row_of
    return {
        "nothing wrong": lambda: refused(triton_tiles, "LN2", triton_tiles.LN2),
        "constant of the softplus": lambda: refused(triton_tiles, "LOG2E", tl.constexpr(1.44)),
        "slope of the softplus": lambda: refused(
            triton_backward, "step_and_slope", lambda *a: (slope(*a)[0], slope(*a)[1] * 0 + 1)
        ),
        "state of the last chunk not handed on": lambda: refused(
            triton_forward, "states_after", lambda a, b, start, T: after(a, b, start * 0, T)
        ),
        "gradient of the next chunk not handed on": lambda: refused(
            triton_backward, "state_gradients", lambda a, b, carry, T: gradients(a, b, carry * 0, T)
        ),
        "state before and after confused": lambda: refused(
            triton_backward, "states_around", lambda *a: around(*a)[::-1]
        ),
        "wrong visit handed on": lambda: refused(
            triton_forward, "row_of", lambda tile, index, T: row(tile, max(0, index - 1), T)
        ),
        "segments not joined": lambda: refused(triton_forward, "join_segments", _NothingLaunched()),
    }


if __name__ == "__main__":
    make_quick()
    self_check._CASES = (self_check.Case((35,), 1, 18, 2, 2),)
    results = {}
    wanted = sys.argv[1:]
    for kind in (parity, cuts, public, broken):
        for name, run in kind().items():
            if wanted and name not in wanted:
                continue
            try:
                results[name] = run()
            except Exception:
                results[name] = traceback.format_exc()
    print(json.dumps(results))
