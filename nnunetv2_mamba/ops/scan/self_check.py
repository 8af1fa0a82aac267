"""What a backend must show before its first use: the reference's numbers on a small grid and on a long one."""

from math import isnan, nan

import torch
from torch import Tensor

from nnunetv2_mamba.ops.scan.contract import CHUNK, ScanArguments, ScanBackend
from nnunetv2_mamba.ops.scan.orders import cyclic_axis_orders, visiting_orders
from nnunetv2_mamba.ops.scan.reference import grid_scan_reference

_CASES = (((3, 5), 2, 4, 1, 3), ((11, 27), 1, 36, 2, 16))
"""(grid, batch, channels, groups, d_state), small and large; lengths and widths that fill no chunk or vector evenly."""

_DEVICE_CASES = (((51, 43), 1, 36, 2, 16),)
"""Beyond the CPU, where a kernel may work through long sequences in pieces: mamba_ssm's has 2048 steps."""


def largest_error(backend: ScanBackend, device: str) -> float:
    """Largest error of output and gradients, each relative to the largest number of the tensor it is in.

    Args:
        backend: implementation to be checked.
        device: torch device type to check it on.

    Returns:
        The error; not a number where a result is not.
    """
    cases = _CASES if device == "cpu" else _CASES + _DEVICE_CASES
    errors = [_error(backend, device, *case) for case in cases]
    return nan if any(map(isnan, errors)) else max(errors)


def _error(
    backend: ScanBackend, device: str, spatial: tuple[int, ...], batch: int, channels: int, groups: int, d_state: int
) -> float:
    length = torch.Size(spatial).numel()
    orders = visiting_orders(spatial, cyclic_axis_orders(len(spatial)), 2 * len(spatial))
    directions = len(orders)
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    # u and delta lie channels-last, as in the networks: that is also the version of a kernel worth compiling first.
    inputs = {
        "u": draw(batch, length, channels).transpose(1, 2),
        "delta": draw(batch, directions, length, channels).transpose(2, 3),
        "A": -draw(directions, channels, d_state).exp(),
        "B": draw(batch, directions, groups, d_state, length),
        "C": draw(batch, directions, groups, d_state, length),
        "D": draw(directions, channels),
        "delta_bias": draw(directions, channels),
        "z": draw(batch, length, channels).transpose(1, 2),
    }
    dy = draw(batch, length, channels).transpose(1, 2)
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in inputs.items()}
    expected = grid_scan_reference(**leaves, delta_softplus=True, orders=orders)
    gradients = torch.autograd.grad(expected, list(leaves.values()), dy)
    inputs, dy = {name: tensor.to(device) for name, tensor in inputs.items()}, dy.to(device)
    scan = ScanArguments(**inputs, delta_softplus=True, orders=orders)
    chunks = -(-length // CHUNK) if backend.saves_states else 0
    # What nobody writes must not pass for a zero.
    y, states = torch.full_like(dy, nan), dy.new_full((batch, directions, chunks, d_state, channels), nan)
    backend.forward(scan, y, states)
    found = [torch.full_like(tensor, nan) for tensor in inputs.values()]
    found[3:5] = [torch.full_like(t.transpose(-1, -2), nan).transpose(-1, -2) for t in (scan.B, scan.C)]
    backend.backward(scan, dy, states, tuple(found))
    pairs = zip((expected.detach(), *gradients), (y, *found), strict=True)
    errors = [float((want - have.cpu()).abs().max() / want.abs().max()) for want, have in pairs]
    return nan if any(map(isnan, errors)) else max(errors)
