"""The two public functions: shapes are checked, precision is fixed, a backend is chosen, and one op does the work."""

from collections.abc import Sequence
from operator import index

import torch
from torch import Tensor

from nnunetv2_mamba.ops.backends import Call, check_kinds
from nnunetv2_mamba.ops.scan.library import grid_scan
from nnunetv2_mamba.ops.scan.orders import AxisOrder, check_axis_orders, cyclic_axis_orders
from nnunetv2_mamba.ops.scan.registry import REGISTRY

HALF = (torch.float16, torch.bfloat16)


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    *,
    backend: str | None = None,
) -> Tensor:
    """Selective scan (S6) along a sequence, a drop-in for mamba_ssm's function of that meaning.

    h_t = exp(delta_t A) h_{t-1} + delta_t B_t u_t and y_t = <C_t, h_t> + D u_t, times SiLU(z_t) where z is given.
    Computed in float32 (float64 where an input is) whatever autocast is in force. Gradients of gradients and
    forward-mode derivatives are available from the backend ``"reference"`` only.
    Source: Mamba, arXiv 2312.00752, algorithm 2.

    Args:
        u: input (batch, D, L).
        delta: step size (batch, D, L).
        A: state matrix (D, N), negative in every Mamba; N up to 256.
        B: (batch, N, L), or (batch, G, N, L) where channel d uses group d * G // D.
        C: like B.
        D: skip weight (D,).
        z: gate (batch, D, L).
        delta_bias: added to delta (D,).
        delta_softplus: whether delta, bias added, goes through softplus.
        backend: name of a backend, instead of the fastest that works.

    Returns:
        Tensor (batch, D, L) of u's dtype.

    Raises:
        ValueError: shapes do not fit.
        BackendError: the named backend is unknown or cannot run.
    """
    if u.ndim != 3:
        raise ValueError(f"u has shape {tuple(u.shape)}; selective_scan wants (batch, D, L)")
    B, C = (t.unsqueeze(1) if t.ndim == 3 else t for t in (B, C))
    y = _scan(
        u,
        delta.unsqueeze(1),
        A.unsqueeze(0),
        B.unsqueeze(1),
        C.unsqueeze(1),
        None if D is None else D.unsqueeze(0),
        None if delta_bias is None else delta_bias.unsqueeze(0),
        z,
        delta_softplus,
        ((0,),),
        backend,
    )
    return y.to(u.dtype)


def cross_selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    *,
    axis_orders: Sequence[AxisOrder] | None = None,
    backend: str | None = None,
) -> Tensor:
    """K directional selective scans over an N-D grid, merged by sum: the core of SS2D and of its N-D form.

    Everything stays in grid order; a direction is only the order in which positions are visited, so fast backends make
    no flipped or transposed copy. Channels-last memory is the quick layout. Source: VMamba, arXiv 2401.10166, sec. 4.2.

    Args:
        u: input (batch, D, *spatial).
        delta: step size of each direction (batch, K, D, *spatial).
        A: state matrices (K, D, N).
        B: (batch, K, N, *spatial).
        C: (batch, K, N, *spatial).
        D: skip weights (K, D).
        delta_bias: added to delta (K, D).
        delta_softplus: whether delta, bias added, goes through softplus.
        axis_orders: permutations of the spatial axes, slowest first; K is their number (forward walks only) or twice it
            (all forward walks, then the same backwards). By default each axis is the fastest once: SS2D's order in 2-D.
        backend: name of a backend, instead of the fastest that works.

    Returns:
        Tensor (batch, D, *spatial) of u's dtype.

    Raises:
        ValueError: shapes or axis orders do not fit.
        BackendError: the named backend is unknown or cannot run.
    """
    if u.ndim < 3:
        raise ValueError(f"u has shape {tuple(u.shape)}; cross_selective_scan wants (batch, D, *spatial)")
    spatial = u.shape[2:]
    orders = cyclic_axis_orders(len(spatial)) if axis_orders is None else tuple(tuple(order) for order in axis_orders)
    check_axis_orders(orders, len(spatial), A.shape[0])
    if delta.shape[3:] != spatial:
        raise ValueError(
            f"delta has shape {tuple(delta.shape)}; with u {tuple(u.shape)} it must be (batch, K, D, *spatial)"
        )
    B, C = B.unsqueeze(2), C.unsqueeze(2)
    y = _scan(u, delta, A, B, C, D, delta_bias, None, delta_softplus, orders, backend)
    return y.to(u.dtype)


def _scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    delta_bias: Tensor | None,
    z: Tensor | None,
    delta_softplus: bool,
    axis_orders: tuple[AxisOrder, ...],
    backend: str | None,
) -> Tensor:
    """The part common to both: delta is (batch, K, D, *spatial), B and C are (batch, K, G, N, *spatial)."""
    spatial = u.shape[2:]
    _check_shapes(u, delta, A, B, C, D, delta_bias, z)
    tensors = (u, delta, A, B, C, D, delta_bias, z)
    check_kinds("scan", tensors)
    double = any(t is not None and t.dtype == torch.float64 for t in tensors)
    dtype = torch.float64 if double else torch.float32
    # A branch, which torch.compile settles by a guard; the comparison itself would stay one of symbols.
    index_bits = 64 if max(delta.numel(), B.numel()) >= 2**31 else 32
    name = _select(u.device.type, double, index(A.shape[-1]), index_bits, backend)
    keeps_half = not double and REGISTRY.backends[name].reads_half
    save_states = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)

    def wide(tensor: Tensor) -> Tensor:
        return tensor if keeps_half and tensor.dtype in HALF else tensor.to(dtype)

    y = grid_scan(
        wide(u).flatten(2),
        wide(delta).flatten(3),
        A.to(dtype),
        wide(B).flatten(4),
        wide(C).flatten(4),
        None if D is None else D.to(dtype),
        None if delta_bias is None else delta_bias.to(dtype),
        None if z is None else wide(z).flatten(2),
        delta_softplus,
        tuple(spatial),
        axis_orders,
        save_states,
        name,
    )
    return y.unflatten(2, spatial)


@torch.compiler.assume_constant_result
def _select(device: str, double: bool, d_state: int, index_bits: int, backend: str | None) -> str:
    if device == "meta":
        return "torch"  # shapes only: no backend runs
    return REGISTRY.select(Call(device, torch.float64 if double else torch.float32, d_state, index_bits), backend)


def _check_shapes(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    delta_bias: Tensor | None,
    z: Tensor | None,
) -> None:
    batch, channels, spatial = u.shape[0], u.shape[1], tuple(u.shape[2:])
    directions, d_state, groups = A.shape[0], A.shape[-1], B.shape[2]
    projection = (batch, directions, groups, d_state, *spatial)
    vector = (directions, channels)
    expected = {
        "A": (A, (directions, channels, d_state)),
        "delta": (delta, (batch, directions, channels, *spatial)),
        "B": (B, projection),
        "C": (C, projection),
        "D": (D, vector),
        "delta_bias": (delta_bias, vector),
        "z": (z, (batch, channels, *spatial)),
    }
    for name, (tensor, shape) in expected.items():
        if tensor is not None and tuple(tensor.shape) != shape:
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)}, not {shape} as u {tuple(u.shape)} and A {tuple(A.shape)} ask"
            )
    if groups < 1 or channels % groups:
        raise ValueError(f"{channels} channels cannot be shared out among {groups} groups of B and C")
    if 0 in spatial:
        raise ValueError(f"u has shape {tuple(u.shape)}; a scan needs at least one position")
    if not 1 <= d_state <= 256:
        raise ValueError(f"the state size N is {d_state}; it must lie in 1..256")
