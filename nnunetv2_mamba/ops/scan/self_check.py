"""What a backend must show before its first use: the reference's numbers on a small grid and on a long one."""

from dataclasses import dataclass
from math import isnan, nan

import torch
from torch import Tensor

from nnunetv2_mamba.ops.scan.backends.reference import grid_scan_reference
from nnunetv2_mamba.ops.scan.contract import CHUNK, ScanArguments, ScanBackend
from nnunetv2_mamba.ops.scan.orders import cyclic_axis_orders, visiting_orders


@dataclass(frozen=True)
class Case:
    """One scan to be checked.

    Attributes:
        spatial: grid, walked in all its directions.
        batch: samples.
        channels: D.
        groups: of B and C.
        d_state: N.
        gated: whether there is a gate.
        plain: whether D, bias and softplus are left out.
        dtype: of u, delta, B, C and z, where the backend reads half precision.
    """

    spatial: tuple[int, ...]
    batch: int
    channels: int
    groups: int
    d_state: int
    gated: bool = True
    plain: bool = False
    dtype: torch.dtype = torch.float32


_CASES = (Case((3, 5), 2, 4, 2, 3, plain=True, gated=False), Case((11, 27), 1, 70, 1, 16))
"""Small and large; lengths and widths that fill no chunk or vector evenly, channels for more than one thread."""

_DEVICE_CASES = (
    Case((51, 43), 1, 36, 2, 16),
    Case((9, 11), 1, 192, 1, 16, gated=False),
    Case((9, 11), 1, 384, 1, 16, gated=False, dtype=torch.float16),
)
"""Beyond the CPU, where a kernel may work through long sequences in pieces (mamba_ssm's has 2048 steps) and is another
one for other widths."""


def largest_error(backend: ScanBackend, device: str) -> float:
    """Largest error of output and gradients, each relative to the largest number of the tensor it is in.

    Args:
        backend: implementation to be checked.
        device: torch device type to check it on.

    Returns:
        The error; not a number where a result is not.
    """
    cases = _CASES if device == "cpu" else _CASES + _DEVICE_CASES
    errors = [_error(backend, device, case) for case in cases]
    return nan if any(map(isnan, errors)) else max(errors)


def _error(backend: ScanBackend, device: str, case: Case) -> float:
    inputs, dy, orders = _draw(case, backend.reads_half)
    leaves = {name: None if t is None else t.float().clone().requires_grad_() for name, t in inputs.items()}
    expected = grid_scan_reference(ScanArguments(**leaves, delta_softplus=not case.plain, orders=orders))
    given = {name: leaf for name, leaf in leaves.items() if leaf is not None}
    gradients = dict(zip(given, torch.autograd.grad(expected, list(given.values()), dy), strict=True))
    scan = ScanArguments(
        **{name: None if t is None else t.to(device) for name, t in inputs.items()},
        delta_softplus=not case.plain,
        orders=orders,
    )
    chunks = -(-orders.shape[1] // CHUNK) if backend.saves_states else 0
    # An element that is never written must not look like a zero.
    y = torch.full_like(scan.u, nan, dtype=torch.float32)
    states = y.new_full((case.batch, len(orders), chunks, case.d_state, case.channels), nan)
    backend.forward(scan, y, states)
    found = _unwritten(scan)
    backend.backward(scan, dy.to(device), states, tuple(found.values()))
    pairs = [(expected.detach(), y), *((gradient, found[name]) for name, gradient in gradients.items())]
    errors = [float((want - have.cpu()).abs().max() / want.abs().max()) for want, have in pairs]
    return nan if any(map(isnan, errors)) else max(errors)


def _draw(case: Case, reads_half: bool) -> tuple[dict[str, Tensor | None], Tensor, Tensor]:
    """Inputs by name, dy and visiting orders."""
    spatial, batch, channels, groups, d_state = case.spatial, case.batch, case.channels, case.groups, case.d_state
    length, directions = torch.Size(spatial).numel(), 2 * len(spatial)
    generator = torch.Generator().manual_seed(0)
    dtype = case.dtype if reads_half else torch.float32

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")

    # u and delta lie channels-last, as in the networks: that is also the version of a kernel worth compiling first.
    delta = draw(batch, directions, length, channels).transpose(2, 3)
    inputs = {
        "u": draw(batch, length, channels).transpose(1, 2).to(dtype),
        "delta": (delta.abs() if case.plain else delta).to(dtype),
        "A": -draw(directions, channels, d_state).exp(),
        "B": draw(batch, directions, groups, d_state, length).to(dtype),
        "C": draw(batch, directions, groups, d_state, length).to(dtype),
        "D": None if case.plain else draw(directions, channels),
        "delta_bias": None if case.plain else draw(directions, channels),
        "z": draw(batch, length, channels).transpose(1, 2).to(dtype) if case.gated else None,
    }
    dy = draw(batch, length, channels).transpose(1, 2)
    return inputs, dy, visiting_orders(spatial, cyclic_axis_orders(len(spatial)), directions)


def _unwritten(scan: ScanArguments) -> dict[str, Tensor]:
    """Memory for the gradients as the op hands it over, by the names of the inputs."""

    def like(tensor: Tensor) -> Tensor:
        return torch.full_like(tensor, nan, dtype=torch.float32)

    vector = scan.A.new_full(scan.A.shape[:2], nan)
    return {
        "u": like(scan.u),
        "delta": like(scan.delta),
        "A": like(scan.A),
        "B": like(scan.B.transpose(-1, -2)).transpose(-1, -2),
        "C": like(scan.C.transpose(-1, -2)).transpose(-1, -2),
        "D": vector,
        "delta_bias": vector.clone(),
        "z": scan.A.new_empty(0) if scan.z is None else like(scan.z),
    }
