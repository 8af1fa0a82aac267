"""The specification: one position after the other, plain differentiable torch, any float dtype.

Every fast backend is tested against this file, which is therefore written to be read and not to be fast.
"""

import torch
from torch import Tensor
from torch.nn.functional import silu, softplus

from nnunetv2_mamba.ops.backends import Call
from nnunetv2_mamba.ops.scan.contract import ScanArguments


def grid_scan_reference(scan: ScanArguments) -> Tensor:
    """K selective scans over one grid, each visiting the positions in its own order, summed and gated.

    With a = exp(delta * A), direction k computes h <- a * h + (delta * u) B and y = <C, h> + D u (Mamba, eq. 2 with the
    Euler step for B); everything is indexed by grid position, whatever the order of the visits.

    Args:
        scan: the tensors, with the positions along one axis, and what is computed of them.

    Returns:
        Tensor (batch, D, L) of u's dtype.
    """
    u, A, delta = scan.u, scan.A, scan.delta
    if scan.delta_bias is not None:
        delta = delta + scan.delta_bias[..., None]
    if scan.delta_softplus:
        delta = softplus(delta)
    per_group = u.shape[1] // scan.B.shape[2]
    y = torch.zeros_like(u)
    inputs = u.unsqueeze(-2).unbind(-1)
    for k, order in enumerate(scan.orders.tolist()):
        steps, drives, readouts = (t[:, k].unbind(-1) for t in (delta, scan.B, scan.C))
        h = u.new_zeros(u.shape[0], u.shape[1], A.shape[-1])
        visited = []
        for position in order:
            step = steps[position].unsqueeze(-1)
            drive = drives[position].repeat_interleave(per_group, dim=1)
            readout = readouts[position].repeat_interleave(per_group, dim=1)
            h = torch.exp(step * A[k]) * h + step * drive * inputs[position]
            visited.append((readout * h).sum(-1))
        y = y.index_add(2, torch.tensor(order, device=u.device), torch.stack(visited, dim=-1))
        if scan.D is not None:
            y = y + scan.D[k, :, None] * u
    return y if scan.z is None else y * silu(scan.z)


class ReferenceBackend:
    """The specification as a backend; autograd itself differentiates it, so the op is passed by where it is chosen."""

    name = "reference"
    saves_states = False
    reads_half = False

    def unavailable(self, device: str) -> str | None:
        """It runs wherever torch does."""
        return None

    def unsupported(self, call: Call) -> str | None:
        """It takes every call."""
        return None

    def self_check(self, device: str) -> float:
        """It is what the others are compared with."""
        return 0.0

    def forward(self, scan: ScanArguments, y: Tensor, states: Tensor) -> None:
        """Write y; see `contract.ScanBackend`."""
        y.copy_(grid_scan_reference(scan))

    def backward(self, scan: ScanArguments, dy: Tensor, states: Tensor, grads: tuple[Tensor, ...]) -> None:
        """Autograd's part."""
        raise NotImplementedError("the reference is differentiated by autograd; call grid_scan_reference")
