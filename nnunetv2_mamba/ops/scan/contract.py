"""What a backend of the scan receives and must offer."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from nnunetv2_mamba.ops.backends import Backend

CHUNK = 32
"""Steps between two saved states: the backward pass recomputes from them. 1/32 of (batch, K, D, L, N)."""


@dataclass
class ScanTensors:
    """The tensors of K directional scans over a grid of L positions, of any strides.

    The positions may lie along one axis or along several (*spatial), as the functions of a caller have them.

    Attributes:
        u: input (batch, D, L).
        delta: step size before bias and softplus (batch, K, D, L).
        A: state matrix (K, D, N).
        B: input projection (batch, K, G, N, L); channel d uses group d * G // D.
        C: output projection (batch, K, G, N, L).
        D: skip weight (K, D) or None.
        delta_bias: added to delta (K, D) or None.
        z: gate (batch, D, L) or None; its SiLU multiplies the sum.
    """

    u: Tensor
    delta: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None
    delta_bias: Tensor | None
    z: Tensor | None

    def in_order(self) -> tuple[Tensor | None, ...]:
        """All eight, in the order in which the op takes them and gives their gradients."""
        return self.u, self.delta, self.A, self.B, self.C, self.D, self.delta_bias, self.z


@dataclass
class ScanArguments(ScanTensors):
    """What one call of a backend computes.

    All tensors are of one dtype, float32 or float64, but for u, delta, B, C and z of a backend that reads half
    precision.

    Attributes:
        delta_softplus: whether delta, bias added, goes through softplus.
        orders: positions in the order of their visits (K, L).
    """

    delta_softplus: bool
    orders: Tensor


class ScanBackend(Backend, Protocol):
    """A backend of the scan: it fills tensors that were allocated for it.

    Contract of `forward(scan, y, states)`: y (batch, D, L) is written in full; states (batch, K, chunks, N, D) receives
    the state before each chunk of `CHUNK` visits, unless it has no chunks. Contract of `backward(scan, dy, states,
    grads)`: grads (du, ddelta, dA, dB, dC, dD, ddelta_bias, dz) are written in full, those of D and the bias whether or
    not they exist; dz has no elements without a gate. What is written is float32, or float64 where the inputs are.

    Attributes:
        saves_states: whether the backward pass wants the states.
        reads_half: whether u, delta, B, C and z may be float16 or bfloat16.
    """

    saves_states: bool
    reads_half: bool

    def forward(self, scan: ScanArguments, y: Tensor, states: Tensor) -> None:
        """Write y and the states."""
        ...

    def backward(self, scan: ScanArguments, dy: Tensor, states: Tensor, grads: tuple[Tensor, ...]) -> None:
        """Write the gradients of everything."""
        ...
