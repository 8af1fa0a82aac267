"""How a scan is cut into programs of the Triton kernels, and the tensors in the form that they read and write."""

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.weak import WeakTensorKeyDictionary

from nnunetv2_mamba.ops.scan.contract import CHUNK, ScanArguments

WARP = 32

SLOT_BYTES = 2**28
"""Memory in which directions may leave a y or du of their own, so that all run at once and are added up afterwards.

As much again may hold their parts of dB and dC.
"""

SEGMENT_BYTES = 2**28
"""Memory that each kind of scratch may take which grows with the segments, if there is to be more than one of them."""


@dataclass(frozen=True)
class Tiling:
    """Size of a kernel's tiles; a program is one warp.

    Attributes:
        numbers: visits times channels of a tile that a thread holds.
        channels: of these, channels at most.
        registers: that a thread may use.
        backward: whether the kernel needs the scratch of the backward pass.
    """

    numbers: int
    channels: int
    registers: int
    backward: bool

    @property
    def resident_warps(self) -> int:
        """Warps that a multiprocessor holds at once: it has 65,536 registers."""
        return 65536 // (WARP * self.registers)


OPTIONS = {"enable_fp_fusion": True}
"""Of every kernel: Triton's default will change, while multiplying and adding apart takes far more instructions."""

# More channels per thread share what is read of B and C and, backwards, take fewer shuffles to sum dB and dC over. More
# visits mean less work per tile. Chosen by counting instructions, see README.md; with the given registers, none of what
# the loop over n needs is spilled.
FORWARD = Tiling(numbers=16, channels=2, registers=128, backward=False)
BACKWARD = Tiling(numbers=16, channels=4, registers=168, backward=True)


class LaunchPlan:
    """Sizes of a scan and its cut into blocks of channels, segments of visits and slots of directions.

    Scratch beside copies of what is read or written: both passes hold carries (batch, K, segments, N, columns), the
    backward pass as many sums over visits, `starts` and `parts`. Each but the parts takes at most `SEGMENT_BYTES`, or
    what one segment needs. The parts take at most `SLOT_BYTES`, or what one direction needs: per direction, in channels
    of 128 and more, about N / 64 times its delta in float32.

    Attributes:
        block: channels of a program.
        blocks: programs per group of B and C.
        columns: channels of all programs, those that do not exist included.
        visits: T of a tile.
        padded: length rounded up to whole chunks.
        slots: directions that one launch works on, each with a y or du of its own; 1 or all.
        segment: visits of a program.
        segments: programs per sequence.
    """

    def __init__(self, scan: ScanArguments, tiling: Tiling) -> None:
        self.batch, self.channels, self.length = scan.u.shape
        self.directions, _, self.d_state = scan.A.shape
        self.groups = scan.B.shape[2]
        self.per_group = self.channels // self.groups
        self.registers = tiling.registers
        self.block = WARP * tiling.channels
        while self.block > WARP and -self.per_group % self.block >= self.block // 2:
            self.block //= 2
        self.blocks = -(-self.per_group // self.block)
        self.columns = self.groups * self.blocks * self.block
        self.visits = min(CHUNK, tiling.numbers * WARP // self.block)
        chunks = -(-self.length // CHUNK)
        self.padded = chunks * CHUNK
        slot = max(scan.u.numel(), math.prod(self._parts(1)) if tiling.backward else 0)
        apart = scan.z is None and self.directions * slot * 4 <= SLOT_BYTES
        self.slots = self.directions if apart else 1
        # Segments cost nearly a second pass, so that a GPU filled by half is better than one filled by two of them.
        wanted = tiling.resident_warps * processors(scan.u.device)
        segments = wanted // max(1, self.batch * self.slots * self.groups * self.blocks)
        states = max(self.directions, self.slots * CHUNK // self.visits if tiling.backward else 0)
        affordable = SEGMENT_BYTES // max(1, 4 * self.batch * states * (self.d_state + 2) * self.columns)
        self.segment = -(-chunks // max(1, min(segments, affordable, chunks))) * CHUNK
        self.segments = -(-self.length // self.segment)

    @property
    def sizes(self) -> tuple[int, ...]:
        """What all kernels over tiles take."""
        return (
            self.directions, self.per_group, self.groups, self.blocks, self.d_state, self.length, self.padded,
            self.segment,
        )  # fmt: skip

    @property
    def starts(self) -> tuple[int, ...]:
        """Shape of the scratch for the states that the tiles of a chunk start from."""
        return self.batch, self.slots, self.segments, CHUNK // self.visits, self.d_state, self.columns

    @property
    def parts(self) -> tuple[int, ...]:
        """Shape of the gradients of B and C summed over the channels of a block, side by side."""
        return self._parts(self.slots)

    def _parts(self, slots: int) -> tuple[int, ...]:
        return self.blocks, self.batch, slots, self.groups, self.d_state, self.padded, 2

    @property
    def compiled_for(self) -> dict[str, Any]:
        """Constants of all kernels over tiles, and options of the compiler."""
        return {"T": self.visits, "BLOCK": self.block, "num_warps": 1, "maxnreg": self.registers, **OPTIONS}

    def programs(self, slots: int, segments: int) -> tuple[int, int, int]:
        """The grid of a launch: only its first dimension may grow beyond 65,535, and segments never do."""
        return self.batch * slots * self.groups * self.blocks, segments, 1

    def by_group(self, tensor: Tensor) -> Tensor:
        """View (..., G, channels of a group) of a tensor (..., D) or (..., columns)."""
        return tensor.unflatten(-1, (self.groups, -1))[..., : self.per_group]


class Inputs:
    """Arguments of a scan in the form that the kernels read.

    Attributes:
        tensors: u, delta, A2, B, C, D, bias, z and orders; u for each that was left out. A2 is the state matrix times
            log2(e) (K, N, columns), B and C are in the order of the visits (batch, K, G, N, padded) in float32.
        strides: of u, delta and z, but for those of the channels, which are one.
        flags: which of them were given, for the kernels.
    """

    def __init__(self, scan: ScanArguments, plan: LaunchPlan) -> None:
        from nnunetv2_mamba.ops.scan.triton_projections import gather_projections

        u, delta = channels_last(scan.u), channels_last(scan.delta)
        z = u if scan.z is None else channels_last(scan.z)
        skip, bias = (u if t is None else t.contiguous() for t in (scan.D, scan.delta_bias))
        A2 = scan.A.new_zeros(plan.directions, plan.d_state, plan.columns)
        torch.mul(plan.by_group(scan.A.transpose(-1, -2)), math.log2(math.e), out=plan.by_group(A2))
        orders = padded_orders(scan.orders, plan.padded, u.device)
        shape = (plan.batch, plan.directions, plan.groups, plan.d_state, plan.padded)
        B, C = scan.A.new_empty(shape), scan.A.new_empty(shape)
        gather_projections[plan.padded // CHUNK * math.prod(shape[:3]), 1, 1](
            scan.B, scan.C, orders, B, C, *scan.B.stride(), *scan.C.stride(),
            *shape[1:4], plan.length, plan.padded, VISITS=CHUNK, STATES=CHUNK, **OPTIONS,
        )  # fmt: skip
        self.tensors = (u, delta, A2, B, C, skip, bias, z, orders)
        self.strides = (*strides(u), *strides(delta), *strides(z))
        self.flags = {
            "SOFTPLUS": scan.delta_softplus,
            "HAS_SKIP": scan.D is not None,
            "HAS_BIAS": scan.delta_bias is not None,
            "GATE": scan.z is not None,
        }


def segment_carries(inputs: Inputs, plan: LaunchPlan, dy: Tensor | None = None) -> Tensor:
    """The state that each segment starts from (batch, K, segments, N, columns); zero for the first segment.

    Args:
        inputs: of the scan.
        plan: of the scan.
        dy: None for the states, from the first segment to the last; the gradient of y for the gradients of the states,
            from the last segment to the first.
    """
    from nnunetv2_mamba.ops.scan.triton_forward import join_segments, segment_ends

    u, delta, A2, B, C, _, bias, z, orders = inputs.tensors
    per_segment = (plan.batch, plan.directions, plan.segments)
    carries = A2.new_zeros(*per_segment, plan.d_state, plan.columns)
    if plan.segments == 1:
        return carries
    backward = dy is not None
    source, projection = (u, B) if dy is None else (dy, C)
    totals = A2.new_empty(*per_segment, plan.columns)
    flags = {name: inputs.flags[name] for name in ("SOFTPLUS", "HAS_BIAS")}
    segment_ends[plan.programs(plan.directions, plan.segments - 1)](
        source, delta, A2, projection, bias, z, orders, carries, totals, *strides(source), *strides(delta), *strides(z),
        *plan.sizes, plan.segments, GATE=inputs.flags["GATE"] and backward, BACKWARD=backward,
        **flags, **plan.compiled_for,
    )  # fmt: skip
    join_segments[plan.batch * plan.directions * plan.d_state * plan.columns // WARP, 1, 1](
        carries, totals, A2, plan.directions, plan.columns, plan.d_state, plan.segments,
        BACKWARD=backward, T=16, BLOCK=WARP, num_warps=1, **OPTIONS,
    )  # fmt: skip
    return carries


class Destination:
    """Memory that a kernel writes instead of a result (..., D, L): channels-last, a slot for each direction at once.

    Attributes:
        tensor: what the kernel writes.
        strides: of the slots, then of the result, but for that of the channels, which is one.
    """

    def __init__(self, result: Tensor, slots: int = 1) -> None:
        self._result = result
        self.tensor = result.unsqueeze(0)
        if slots > 1 or result.stride(-2) != 1:
            *rest, channels, length = result.shape
            self.tensor = result.new_empty(slots, *rest, length, channels).transpose(-1, -2)
        self.strides = strides(self.tensor)

    def finish(self) -> None:
        """Bring what was written into the result."""
        if self.tensor.shape[0] > 1:
            torch.sum(self.tensor, 0, out=self._result)
        elif self.tensor.data_ptr() != self._result.data_ptr():
            self._result.copy_(self.tensor[0])


def channels_last(tensor: Tensor) -> Tensor:
    """The tensor (..., D, L) with neighbouring channels side by side in memory; a copy where they are not."""
    return tensor if tensor.stride(-2) == 1 else tensor.transpose(-1, -2).contiguous().transpose(-1, -2)


def strides(tensor: Tensor) -> tuple[int, ...]:
    """Strides of a tensor (..., D, L) without that of the channels."""
    return *tensor.stride()[:-2], tensor.stride(-1)


@cache
def processors(device: torch.device) -> int:
    """Multiprocessors of a GPU; two for a CPU, on which kernels are only interpreted."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 2


_PADDED_ORDERS: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def padded_orders(orders: Tensor, padded: int, device: torch.device) -> Tensor:
    """Visiting orders (K, L) as int32 (K, padded) on a device; kept there as long as the orders live."""
    copies = _PADDED_ORDERS.setdefault(orders, {})
    if device not in copies:
        copies[device] = pad(orders.int(), (0, padded - orders.shape[1])).to(device)
    return copies[device]
