"""The two public functions: shapes are checked, precision is fixed, a backend is chosen, and one op does the work."""

from collections.abc import Sequence
from operator import index

import torch
from torch import Tensor

from nnunetv2_mamba.ops.backends import Call, check_kinds
from nnunetv2_mamba.ops.scan.contract import ScanTensors
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
    tensors = ScanTensors(
        u,
        delta.unsqueeze(1),
        A.unsqueeze(0),
        B.unsqueeze(1),
        C.unsqueeze(1),
        None if D is None else D.unsqueeze(0),
        None if delta_bias is None else delta_bias.unsqueeze(0),
        z,
    )
    return _scan(tensors, delta_softplus=delta_softplus, axis_orders=((0,),), backend=backend)


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
    tensors = ScanTensors(u, delta, A, B.unsqueeze(2), C.unsqueeze(2), D, delta_bias, None)
    return _scan(tensors, delta_softplus=delta_softplus, axis_orders=orders, backend=backend)


def _scan(
    tensors: ScanTensors, *, delta_softplus: bool, axis_orders: tuple[AxisOrder, ...], backend: str | None
) -> Tensor:
    """The part common to both; the positions of the tensors lie along the axes of the grid."""
    _check_shapes(tensors)
    u, spatial = tensors.u, tensors.u.shape[2:]
    check_kinds("scan", tensors.in_order())
    double = any(t is not None and t.dtype == torch.float64 for t in tensors.in_order())
    dtype = torch.float64 if double else torch.float32
    # A branch, which torch.compile settles by a guard; the comparison itself would stay one of symbols.
    index_bits = 64 if max(tensors.delta.numel(), tensors.B.numel()) >= 2**31 else 32
    name = _select(u.device.type, double, index(tensors.A.shape[-1]), index_bits, backend)
    flat = _flattened(tensors, dtype, keeps_half=not double and REGISTRY.backends[name].reads_half)
    y = grid_scan(
        flat,
        delta_softplus=delta_softplus,
        spatial=tuple(spatial),
        axis_orders=axis_orders,
        save_states=torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors.in_order()),
        backend=name,
    )
    return y.unflatten(2, spatial).to(u.dtype)


def _flattened(tensors: ScanTensors, dtype: torch.dtype, *, keeps_half: bool) -> ScanTensors:
    """The tensors with their positions along one axis, in a dtype that the backend reads."""

    def wide(tensor: Tensor) -> Tensor:
        return tensor if keeps_half and tensor.dtype in HALF else tensor.to(dtype)

    return ScanTensors(
        wide(tensors.u).flatten(2),
        wide(tensors.delta).flatten(3),
        tensors.A.to(dtype),
        wide(tensors.B).flatten(4),
        wide(tensors.C).flatten(4),
        None if tensors.D is None else tensors.D.to(dtype),
        None if tensors.delta_bias is None else tensors.delta_bias.to(dtype),
        None if tensors.z is None else wide(tensors.z).flatten(2),
    )


@torch.compiler.assume_constant_result
def _select(device: str, double: bool, d_state: int, index_bits: int, backend: str | None) -> str:
    if device == "meta":
        return "torch"  # shapes only: no backend runs
    return REGISTRY.select(Call(device, torch.float64 if double else torch.float32, d_state, index_bits), backend)


def _check_shapes(tensors: ScanTensors) -> None:
    u, A = tensors.u, tensors.A
    batch, channels, spatial = u.shape[0], u.shape[1], tuple(u.shape[2:])
    directions, d_state, groups = A.shape[0], A.shape[-1], tensors.B.shape[2]
    projection = (batch, directions, groups, d_state, *spatial)
    vector = (directions, channels)
    expected = {
        "A": (A, (directions, channels, d_state)),
        "delta": (tensors.delta, (batch, directions, channels, *spatial)),
        "B": (tensors.B, projection),
        "C": (tensors.C, projection),
        "D": (tensors.D, vector),
        "delta_bias": (tensors.delta_bias, vector),
        "z": (tensors.z, (batch, channels, *spatial)),
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
