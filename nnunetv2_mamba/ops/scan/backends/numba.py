"""The `numba` backend: shares samples and channels out among threads and hands each share to the compiled kernels."""

import math

import numpy as np
import torch
from torch import Tensor

from nnunetv2_mamba.ops.cpu.backend import CompiledForTheCpu
from nnunetv2_mamba.ops.cpu.threads import work_off
from nnunetv2_mamba.ops.scan.contract import ScanArguments
from nnunetv2_mamba.ops.scan.self_check import largest_error


class NumbaBackend(CompiledForTheCpu):
    """A share is a range of channels of one sample, of all directions."""

    saves_states = True
    reads_half = False

    def self_check(self, device: str) -> float:
        """Largest relative error against the reference."""
        return largest_error(self, device)

    def forward(self, scan: ScanArguments, y: Tensor, states: Tensor) -> None:
        """Scan every direction of every sample; see `contract.ScanBackend`."""
        from nnunetv2_mamba.ops.cpu.math import LOG2E
        from nnunetv2_mamba.ops.scan.numba_forward import LANES, scan_forward

        layout = _Layout(scan.delta)
        u, delta, y_view = layout.read(scan.u), layout.read(scan.delta), layout.write(y)
        gated = scan.z is not None
        z = layout.read(scan.z) if gated else u
        A2, B, C, D, bias = _parameters(scan)
        A2 = A2 * LOG2E
        orders, saved = scan.orders.numpy(), states.numpy()

        def share(sample: int, part: int, group: int, begin: int, end: int) -> None:
            for k, order in enumerate(orders):
                scan_forward(
                    u[sample], delta[sample, k], A2[k], B[sample, k, group], C[sample, k, group], D[k], bias[k],
                    z[sample], gated, scan.delta_softplus, order, begin, end, k > 0, y_view[sample], saved[sample, k],
                )  # fmt: skip

        work_off(share, _shares(scan, LANES)[0])
        layout.finish()

    def backward(self, scan: ScanArguments, dy: Tensor, states: Tensor, grads: tuple[Tensor, ...]) -> None:
        """Write all gradients; see `contract.ScanBackend`."""
        from nnunetv2_mamba.ops.scan.numba_backward import LANES, scan_backward

        du, ddelta, dA, dB, dC, dD, dbias, dz = grads
        shares, parts = _shares(scan, LANES)
        layout = _Layout(scan.delta)
        u, delta, dy_view = layout.read(scan.u), layout.read(scan.delta), layout.read(dy)
        du_view, ddelta_view = layout.write(du), layout.write(ddelta)
        gated = scan.z is not None
        z, dz_view = (layout.read(scan.z), layout.write(dz)) if gated else (u, du_view)
        A, B, C, D, bias = _parameters(scan)
        orders, saved = scan.orders.numpy(), states.numpy()
        parts_B, parts_C = (_parts(gradient, parts) for gradient in (dB, dC))
        batch, (directions, d_state, channels) = u.shape[0], A.shape
        samples_A = np.empty((batch, directions, d_state, channels), np.float32)
        samples_D, samples_bias = (np.empty((batch, directions, channels), np.float32) for _ in range(2))

        def share(sample: int, part: int, group: int, begin: int, end: int) -> None:
            for k, order in enumerate(orders):
                scan_backward(
                    dy_view[sample], saved[sample, k], u[sample], delta[sample, k], A[k], B[sample, k, group],
                    C[sample, k, group], D[k], bias[k], z[sample], gated, scan.delta_softplus, order, begin, end, k > 0,
                    du_view[sample], ddelta_view[sample, k], samples_A[sample, k], parts_B[part, sample, k, group],
                    parts_C[part, sample, k, group], samples_D[sample, k], samples_bias[sample, k],
                    dz_view[sample],
                )  # fmt: skip

        work_off(share, shares)
        layout.finish()
        for gradient, partial in ((dB, parts_B), (dC, parts_C)) if parts > 1 else ():
            torch.sum(torch.from_numpy(partial), 0, out=gradient.transpose(-1, -2))
        dA.copy_(torch.from_numpy(samples_A.sum(0)).transpose(-1, -2))
        dD.copy_(torch.from_numpy(samples_D.sum(0)))
        dbias.copy_(torch.from_numpy(samples_bias.sum(0)))


def _parts(gradient: Tensor, parts: int) -> np.ndarray:
    """Zeros (parts, ..., L, N): threads that share a sample add to a gradient (..., N, L) of their own.

    These are summed in an order that is always the same. A single part is the gradient itself, which has N fastest.
    """
    if parts == 1:
        return gradient.zero_().transpose(-1, -2).unsqueeze(0).numpy()
    return np.zeros((parts, *gradient.transpose(-1, -2).shape), np.float32)


Share = tuple[int, int, int, int, int]


def _shares(scan: ScanArguments, lanes: int) -> tuple[list[Share], int]:
    """Work as (sample, part, group, first channel, channel after the last), and how many parts a sample is cut into.

    Parts are multiples of the lane width within one group of B and C, as many as keep all threads busy, but not so many
    that their copies of dB and dC together exceed 1/16 of all states.
    """
    batch, channels, groups = scan.u.shape[0], scan.u.shape[1], scan.B.shape[2]
    per_group = channels // groups
    blocks = -(-per_group // lanes)
    threads = torch.get_num_threads()
    parts = min(blocks, threads // math.gcd(batch * groups, threads), max(1, per_group // 32))
    cuts = [min(per_group, lanes * (blocks * part // parts)) for part in range(parts)] + [per_group]
    return [
        (sample, part, group, group * per_group + cuts[part], group * per_group + cuts[part + 1])
        for sample in range(batch)
        for group in range(groups)
        for part in range(parts)
    ], parts


class _Layout:
    """Views (..., D, L) as arrays (..., L, D), all in the one memory order that delta, the largest, is in.

    Two orders mean two compiled versions of a kernel instead of one for every mixture; what differs is copied.
    """

    def __init__(self, delta: Tensor) -> None:
        self.channels_fastest = delta.transpose(-1, -2).is_contiguous() or not delta.is_contiguous()
        self._pending: list[tuple[Tensor, Tensor]] = []

    def read(self, tensor: Tensor) -> np.ndarray:
        """Array of a tensor that is only read."""
        if self.channels_fastest:
            return tensor.transpose(-1, -2).contiguous().numpy()
        return tensor.contiguous().transpose(-1, -2).numpy()

    def write(self, tensor: Tensor) -> np.ndarray:
        """Array of a tensor that is written; complete after `finish`."""
        ordered = tensor.transpose(-1, -2) if self.channels_fastest else tensor
        if not ordered.is_contiguous():
            ordered = torch.empty_like(ordered, memory_format=torch.contiguous_format)
            self._pending.append((tensor, ordered.transpose(-1, -2) if self.channels_fastest else ordered))
        return ordered.numpy() if self.channels_fastest else ordered.transpose(-1, -2).numpy()

    def finish(self) -> None:
        """Copy what was written beside its tensor."""
        for tensor, written in self._pending:
            tensor.copy_(written)


def _parameters(scan: ScanArguments) -> tuple[np.ndarray, ...]:
    """A (K, N, D), B and C (batch, K, G, L, N), D and bias (K, D); contiguous, small next to u and delta."""
    A = scan.A.transpose(-1, -2).contiguous()
    B, C = (t.transpose(-1, -2).contiguous() for t in (scan.B, scan.C))
    D, bias = (A.new_zeros(scan.A.shape[:2]) if t is None else t.contiguous() for t in (scan.D, scan.delta_bias))
    return A.numpy(), B.numpy(), C.numpy(), D.numpy(), bias.numpy()
