"""The `torch` backend: chunk by chunk, each solved at once by doubling; any device, any float dtype, memory O(chunk).

Doubling combines pairs (a, b) of h <- a h + b. Its products of decays never exceed one, unlike the quotients of
cumulative products that a single cumsum would need, so large steps underflow to zero where they should.
"""

import torch
from torch import Tensor
from torch.nn.functional import silu, softplus

from nnunetv2_mamba.ops.backends import Call
from nnunetv2_mamba.ops.scan.contract import CHUNK, ScanArguments
from nnunetv2_mamba.ops.scan.gate import silu_slope
from nnunetv2_mamba.ops.scan.self_check import largest_error


class ChunkedBackend:
    """Plain torch; slower than a kernel and faster than a loop, and there when nothing else is."""

    name = "torch"
    saves_states = True
    reads_half = False

    def unavailable(self, device: str) -> str | None:
        """It runs wherever torch does."""
        return None

    def unsupported(self, call: Call) -> str | None:
        """It takes every call."""
        return None

    def self_check(self, device: str) -> float:
        """Largest relative error against the reference."""
        return largest_error(self, device)

    def forward(self, scan: ScanArguments, y: Tensor, states: Tensor) -> None:
        """Scan every direction; see `contract.ScanBackend`."""
        y.zero_()
        for k, order in enumerate(scan.orders.to(y.device)):
            h = y.new_zeros(y.shape[0], y.shape[1], scan.A.shape[-1])
            for index, visits in enumerate(order.split(CHUNK)):
                if states.shape[2]:
                    states[:, k, index] = h.transpose(1, 2)
                chunk = _Chunk(scan, k, visits)
                before = chunk.states(h)
                after = chunk.decay * before + chunk.drive()
                h = after[:, :, -1]
                y[:, :, visits] += chunk.readout(after)
        if scan.z is not None:
            y *= silu(scan.z)

    def backward(self, scan: ScanArguments, dy: Tensor, states: Tensor, grads: tuple[Tensor, ...]) -> None:
        """Write all gradients; see `contract.ScanBackend`."""
        for gradient in grads:
            gradient.zero_()
        du, ddelta, dA, dB, dC, dD, dbias, dz = grads
        gated = dy if scan.z is None else dy * silu(scan.z)
        for k, order in enumerate(scan.orders.to(dy.device)):
            carry = dy.new_zeros(dy.shape[0], dy.shape[1], scan.A.shape[-1])
            for index, visits in reversed(list(enumerate(order.split(CHUNK)))):
                chunk = _Chunk(scan, k, visits)
                before = chunk.states(states[:, k, index].transpose(1, 2))
                output = gated[:, :, visits]
                g = chunk.state_gradients(output, carry)
                carry = chunk.decay[:, :, 0] * g[:, :, 0]
                exponent = g * chunk.decay * before
                after = chunk.decay * before + chunk.drive()
                driven = torch.einsum("bdtn,bdtn->bdt", g, chunk.B)
                step_gradient = torch.einsum("bdtn,dn->bdt", exponent, scan.A[k]) + driven * chunk.u
                step_gradient *= chunk.slope
                ddelta[:, k, :, visits] = step_gradient
                du[:, :, visits] += driven * chunk.step + chunk.skip(output)
                dA[k] += torch.einsum("bdtn,bdt->dn", exponent, chunk.step)
                dB[:, k, :, :, visits] = chunk.group_sums(g * (chunk.step * chunk.u).unsqueeze(-1))
                dC[:, k, :, :, visits] = chunk.group_sums(output.unsqueeze(-1) * after)
                dD[k] += torch.einsum("bdt,bdt->d", output, chunk.u)
                dbias[k] += step_gradient.sum((0, 2))
                if scan.z is not None:
                    dz[:, :, visits] += chunk.readout(after)
        if scan.z is not None:
            dz *= dy * silu_slope(scan.z)


class _Chunk:
    """T visits of one direction; tensors are (batch, D, T) or (batch, D, T, N) in the order of the visits."""

    def __init__(self, scan: ScanArguments, k: int, visits: Tensor) -> None:
        self.groups = scan.B.shape[2]
        self.u = scan.u[:, :, visits]
        delta = scan.delta[:, k, :, visits]
        if scan.delta_bias is not None:
            delta = delta + scan.delta_bias[k, :, None]
        self.step = softplus(delta) if scan.delta_softplus else delta
        self.slope = torch.sigmoid(delta) if scan.delta_softplus else torch.ones_like(delta)
        self.B, self.C = (self._per_channel(t[:, k, :, :, visits]) for t in (scan.B, scan.C))
        self.decay = torch.exp(self.step.unsqueeze(-1) * scan.A[k, :, None])
        self._D = None if scan.D is None else scan.D[k, :, None]

    def drive(self) -> Tensor:
        """What each visit adds to the state."""
        return (self.step * self.u).unsqueeze(-1) * self.B

    def readout(self, after: Tensor) -> Tensor:
        """What each visit adds to the output, from the state after it."""
        return torch.einsum("bdtn,bdtn->bdt", self.C, after) + self.skip(self.u)

    def skip(self, signal: Tensor) -> Tensor | float:
        """D times a signal (batch, D, T)."""
        return 0.0 if self._D is None else self._D * signal

    def states(self, start: Tensor) -> Tensor:
        """State before each visit, from the one before the first (batch, D, N)."""
        after = _solve(self.decay, self.drive(), start)
        return torch.cat([start.unsqueeze(2), after[:, :, :-1]], 2)

    def state_gradients(self, output: Tensor, carry: Tensor) -> Tensor:
        """Gradient of the state after each visit; carry is what the next chunk passes back (batch, D, N)."""
        source = output.unsqueeze(-1) * self.C
        decay_after = torch.cat([self.decay[:, :, 1:], torch.ones_like(self.decay[:, :, :1])], 2)
        return _solve(decay_after.flip(2), source.flip(2), carry).flip(2)

    def group_sums(self, per_channel: Tensor) -> Tensor:
        """Sum (batch, D, T, N) over the channels of each group, to (batch, G, N, T)."""
        return per_channel.unflatten(1, (self.groups, -1)).sum(2).transpose(-1, -2)

    def _per_channel(self, projection: Tensor) -> Tensor:
        per_group = self.u.shape[1] // self.groups
        return projection.transpose(-1, -2).repeat_interleave(per_group, dim=1)


def _solve(a: Tensor, b: Tensor, start: Tensor) -> Tensor:
    """All h_t = a_t h_{t-1} + b_t along dimension 2, in log2(T) passes."""
    b = torch.cat([(a[:, :, 0] * start + b[:, :, 0]).unsqueeze(2), b[:, :, 1:]], 2)
    shift = 1
    while shift < a.shape[2]:
        b = torch.cat([b[:, :, :shift], a[:, :, shift:] * b[:, :, :-shift] + b[:, :, shift:]], 2)
        a = torch.cat([a[:, :, :shift], a[:, :, shift:] * a[:, :, :-shift]], 2)
        shift *= 2
    return b
