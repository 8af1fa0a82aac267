"""The scan as one opaque `torch.library` op, so that torch.compile sees a node and not a loop."""

import torch
from torch import Tensor

from nnunetv2_mamba.ops.scan.backends.reference import grid_scan_reference
from nnunetv2_mamba.ops.scan.contract import CHUNK, ScanArguments, ScanTensors
from nnunetv2_mamba.ops.scan.orders import AxisOrder, unflatten_axis_orders, visiting_orders
from nnunetv2_mamba.ops.scan.registry import REGISTRY


def grid_scan(
    tensors: ScanTensors,
    *,
    delta_softplus: bool,
    spatial: tuple[int, ...],
    axis_orders: tuple[AxisOrder, ...],
    save_states: bool,
    backend: str,
) -> Tensor:
    """K directional scans over a flattened grid, summed and gated.

    Args:
        tensors: with the positions along one axis.
        delta_softplus: whether delta goes through softplus.
        spatial: grid size, L in product.
        axis_orders: see `orders.visiting_orders`.
        save_states: whether a backward pass will follow.
        backend: name of an accepted backend.

    Returns:
        Tensor (batch, D, L) of A's dtype.
    """
    if backend == "reference":
        orders = visiting_orders(spatial, axis_orders, tensors.A.shape[0])
        return grid_scan_reference(ScanArguments(**vars(tensors), delta_softplus=delta_softplus, orders=orders))
    flat = [axis for order in axis_orders for axis in order]
    return _grid_scan(*tensors.in_order(), delta_softplus, list(spatial), flat, save_states, backend)[0]


def saved_chunks(length: int, save_states: bool, backend: str) -> int:
    """How many states per channel and direction the forward pass keeps for the backward pass."""
    return -(-length // CHUNK) if save_states and REGISTRY.backends[backend].saves_states else 0


# The schema of an op knows no structures, so that its tensors are spelled out here and nowhere else.
@torch.library.custom_op("nnunetv2_mamba::grid_scan", mutates_args=())
def _grid_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    delta_bias: Tensor | None,
    z: Tensor | None,
    delta_softplus: bool,
    spatial: list[int],
    axis_orders: list[int],
    save_states: bool,
    backend: str,
) -> tuple[Tensor, Tensor]:
    y, states = _outputs(u, A, save_states, backend)
    tensors = ScanTensors(u, delta, A, B, C, D, delta_bias, z)
    scan = _arguments(tensors, delta_softplus, spatial, axis_orders)
    with torch.autocast(u.device.type, enabled=False):
        REGISTRY.backends[backend].forward(scan, y, states)
    return y, states


@_grid_scan.register_fake
def _(u, delta, A, B, C, D, delta_bias, z, delta_softplus, spatial, axis_orders, save_states, backend):
    return _outputs(u, A, save_states, backend)


@torch.library.custom_op("nnunetv2_mamba::grid_scan_backward", mutates_args=())
def _grid_scan_backward(
    dy: Tensor,
    states: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    delta_bias: Tensor | None,
    z: Tensor | None,
    delta_softplus: bool,
    spatial: list[int],
    axis_orders: list[int],
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    tensors = ScanTensors(u, delta, A, B, C, D, delta_bias, z)
    grads = _gradients(tensors)
    scan = _arguments(tensors, delta_softplus, spatial, axis_orders)
    with torch.autocast(u.device.type, enabled=False):
        REGISTRY.backends[backend].backward(scan, dy, states, grads)
    return grads


@_grid_scan_backward.register_fake
def _(dy, states, u, delta, A, B, C, D, delta_bias, z, delta_softplus, spatial, axis_orders, backend):
    return _gradients(ScanTensors(u, delta, A, B, C, D, delta_bias, z))


def _setup_context(ctx, inputs, output) -> None:
    *tensors, delta_softplus, spatial, axis_orders, _, backend = inputs
    ctx.save_for_backward(output[1], *tensors)
    ctx.set_materialize_grads(False)
    ctx.static = (delta_softplus, spatial, axis_orders, backend)


def _backward(ctx, dy: Tensor | None, dstates: Tensor | None):
    if dy is None:
        return (None,) * 13
    states, *tensors = ctx.saved_tensors  # once: activation checkpointing does not answer twice
    grads = _grid_scan_backward(dy, states, *tensors, *ctx.static)
    cast = (None if t is None else grad.to(t.dtype) for t, grad in zip(tensors, grads, strict=True))
    return *cast, *(None,) * 5


_grid_scan.register_autograd(_backward, setup_context=_setup_context)


def _arguments(tensors: ScanTensors, delta_softplus: bool, spatial: list[int], axis_orders: list[int]) -> ScanArguments:
    orders = visiting_orders(tuple(spatial), unflatten_axis_orders(axis_orders, len(spatial)), tensors.A.shape[0])
    return ScanArguments(**vars(tensors), delta_softplus=delta_softplus, orders=orders)


def _outputs(u: Tensor, A: Tensor, save_states: bool, backend: str) -> tuple[Tensor, Tensor]:
    directions, channels, d_state = A.shape
    chunks = saved_chunks(u.shape[-1], save_states, backend)
    return torch.empty_like(u, dtype=A.dtype), A.new_empty(u.shape[0], directions, chunks, d_state, channels)


def _gradients(tensors: ScanTensors) -> tuple[Tensor, ...]:
    A, z = tensors.A, tensors.z
    # B and C are laid out with N fastest, the way kernels read them, whatever the layout they came in.
    dB, dC = (A.new_empty(t.movedim(-1, -2).shape).movedim(-1, -2) for t in (tensors.B, tensors.C))
    return (
        torch.empty_like(tensors.u, dtype=A.dtype),
        torch.empty_like(tensors.delta, dtype=A.dtype),
        torch.empty_like(A, memory_format=torch.contiguous_format),
        dB,
        dC,
        A.new_empty(A.shape[:2]),
        A.new_empty(A.shape[:2]),
        A.new_empty(0) if z is None else torch.empty_like(z, dtype=A.dtype),
    )
