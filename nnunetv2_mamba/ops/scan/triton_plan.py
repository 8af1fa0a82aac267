"""How a scan is cut into programs of the Triton kernels, and the tensors in the form that they read and write."""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from nnunetv2_mamba.ops.scan.contract import CHUNK, ScanArguments

WARP = 32

WARPS_PER_PROCESSOR = 16
"""Warps that keep a multiprocessor busy while some of them wait for memory."""

SLOT_BYTES = 2**28
"""Memory in which directions may leave their own y or du, so that all run at once and are added up afterwards."""


class Plan:
    """Sizes of a scan and its cut into blocks of channels, segments of visits and slots of directions.

    Args:
        scan: what is to be computed.
        tile: numbers of a tile, visits times channels, that a thread holds.
        per_thread: channels that a thread holds at most.
        warps: warps of a program at most.

    Attributes:
        visits: T of a tile.
        block: channels of a program.
        blocks: programs per group of B and C.
        columns: channels of all programs, those that do not exist included.
        slots: directions that one launch works on, each with a y or du of its own; 1 or all.
        segment: visits of a program.
        segments: programs per sequence.
        padded: length rounded up to whole chunks.
    """

    def __init__(self, scan: ScanArguments, tile: int, per_thread: int, warps: int) -> None:
        self.batch, self.channels, self.length = scan.u.shape
        self.directions, _, self.d_state = scan.A.shape
        self.groups = scan.B.shape[2]
        self.per_group = self.channels // self.groups
        self.block = WARP * per_thread * warps
        while self.block > WARP and -self.per_group % self.block >= self.block // 2:
            self.block //= 2
        self.blocks = -(-self.per_group // self.block)
        self.columns = self.groups * self.blocks * self.block
        self.warps = min(warps, self.block // WARP)
        self.visits = min(CHUNK, tile * WARP * self.warps // self.block)
        chunks = -(-self.length // CHUNK)
        self.padded = chunks * CHUNK
        self.slots = self.directions if self.directions * scan.u.numel() * 4 <= SLOT_BYTES and scan.z is None else 1
        at_once = self.batch * self.slots * self.groups * self.blocks * self.warps
        # Segments cost nearly a second pass, so that half a load is better than two of them.
        segments = min(chunks, max(1, WARPS_PER_PROCESSOR * processors(scan.u.device) // at_once))
        self.segment = -(-chunks // segments) * CHUNK
        self.segments = -(-self.length // self.segment)

    def programs(self, slots: int, segments: int) -> tuple[int, int, int]:
        """The grid of a launch."""
        return self.groups * self.blocks, self.batch * slots, segments

    def channels_of(self, scratch: Tensor) -> Tensor:
        """The channels that exist (..., D) of scratch (..., columns)."""
        return scratch.unflatten(-1, (self.groups, -1))[..., : self.per_group].flatten(-2)

    @property
    def tiling(self) -> dict[str, Any]:
        """What a kernel that works in tiles is compiled for."""
        # Triton's default will change, and unfused multiply-adds would nearly double the instructions.
        return {"T": self.visits, "BLOCK": self.block, "num_warps": self.warps, "enable_fp_fusion": True}


@lru_cache(maxsize=None)
def processors(device: torch.device) -> int:
    """Multiprocessors of a GPU; two for a CPU, on which kernels are only interpreted."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 2


def channels_last(tensor: Tensor) -> Tensor:
    """The tensor (..., D, L) with neighbouring channels side by side in memory; a copy where they are not."""
    return tensor if tensor.stride(-2) == 1 else tensor.transpose(-1, -2).contiguous().transpose(-1, -2)


class Inputs:
    """Arguments of a scan in the form that the kernels read.

    Attributes:
        A2: state matrix times log2(e) (K, N, columns).
        B: in the order of the visits (batch, K, G, N, padded), float32.
        C: like B.
        orders: (K, padded) of int32 on the device.
        pointers: u, delta, A2, B, C, D, bias, z, orders; where one was left out, another in its place.
    """

    def __init__(self, scan: ScanArguments, plan: Plan) -> None:
        from nnunetv2_mamba.ops.scan.triton_projections import gather_projections

        self.u, self.delta = channels_last(scan.u), channels_last(scan.delta)
        self.z = None if scan.z is None else channels_last(scan.z)
        self.D, self.bias = (None if t is None else t.contiguous() for t in (scan.D, scan.delta_bias))
        self.A2 = scan.A.new_zeros(plan.directions, plan.d_state, plan.columns)
        torch.mul(scan.A.transpose(-1, -2), math.log2(math.e), out=plan.channels_of(self.A2))
        self.orders = padded_orders(scan.orders, plan.padded, scan.u.device)
        shape = (plan.batch, plan.directions, plan.groups, plan.d_state, plan.padded)
        self.B, self.C = scan.A.new_empty(shape), scan.A.new_empty(shape)
        gather_projections[plan.padded // CHUNK, plan.batch * plan.directions * plan.groups, 1](
            scan.B, scan.C, self.orders, self.B, self.C, *scan.B.stride(), *scan.C.stride(),
            plan.directions, plan.groups, plan.d_state, plan.length, plan.padded, VISITS=CHUNK, STATES=CHUNK,
        )  # fmt: skip
        self.z_strides = (0, 0, 0) if self.z is None else self.z.stride()
        u = self.u
        self.pointers = (
            u, self.delta, self.A2, self.B, self.C, _or(self.D, self.A2), _or(self.bias, self.A2), _or(self.z, u),
            self.orders,
        )  # fmt: skip
        self.options = {
            "SOFTPLUS": scan.delta_softplus, "HAS_SKIP": self.D is not None, "HAS_BIAS": self.bias is not None,
            "GATE": self.z is not None,
        }  # fmt: skip


def _or(tensor: Tensor | None, other: Tensor) -> Tensor:
    return other if tensor is None else tensor


def segment_carries(inputs: Inputs, plan: Plan, source: Tensor, projection: Tensor, backward: bool) -> Tensor:
    """What is handed to each segment (batch, K, segments, N, columns), zero for the first one.

    Args:
        inputs: of the scan.
        plan: of the scan.
        source: u, or backwards the gradient of y.
        projection: B, or backwards C.
        backward: whether gradients of states are handed from the last segment to the first.
    """
    from nnunetv2_mamba.ops.scan.triton_forward import join_segments, segment_ends

    per_segment = (plan.batch, plan.directions, plan.segments)
    carries = inputs.A2.new_zeros(*per_segment, plan.d_state, plan.columns)
    if plan.segments == 1:
        return carries
    totals = inputs.A2.new_empty(*per_segment, plan.columns)
    options = {name: value for name, value in inputs.options.items() if name != "HAS_SKIP"}
    options["GATE"] = options["GATE"] and backward
    _, _, A2, _, _, _, bias, z, orders = inputs.pointers
    segment_ends[plan.programs(plan.directions, plan.segments - 1)](
        source, inputs.delta, A2, projection, bias, z, orders, carries, totals,
        *source.stride(), *inputs.delta.stride(), *inputs.z_strides,
        plan.directions, plan.per_group, plan.blocks, plan.d_state, plan.length, plan.padded, plan.segment,
        plan.segments, BACKWARD=backward, **options, **plan.tiling,
    )  # fmt: skip
    entries = plan.d_state * plan.columns
    join_segments[-(-entries // WARP), plan.batch * plan.directions, 1](
        carries, totals, A2, plan.directions, plan.columns, plan.d_state, plan.segments,
        BACKWARD=backward, T=16, BLOCK=WARP, num_warps=1, enable_fp_fusion=True,
    )  # fmt: skip
    return carries


class Target:
    """Memory that a kernel writes instead of a result (..., D, L): channels-last, one slot for each direction at once.

    Attributes:
        tensor: what the kernel writes.
        strides: of the slots, then of the result.
    """

    def __init__(self, result: Tensor, slots: int = 1) -> None:
        self._result, self._slots = result, slots
        if slots == 1 and result.stride(-2) == 1:
            self.tensor, self.strides = result, (0, *result.stride())
            return
        self.tensor = result.new_empty(slots, *result.shape[:-2], *result.shape[:-3:-1]).transpose(-1, -2)
        self.strides = self.tensor.stride()

    def finish(self) -> None:
        """Bring what was written into the result."""
        if self._slots > 1:
            torch.sum(self.tensor, 0, out=self._result)
        elif self.tensor is not self._result:
            self._result.copy_(self.tensor[0])


_padded_orders: "WeakTensorKeyDictionary[Tensor, dict[torch.device, Tensor]]" = WeakTensorKeyDictionary()


def padded_orders(orders: Tensor, padded: int, device: torch.device) -> Tensor:
    """Visiting orders (K, L) as int32 (K, padded) on a device; kept as long as the orders are."""
    copies = _padded_orders.setdefault(orders, {})
    if device not in copies:
        copies[device] = torch.nn.functional.pad(orders.int(), (0, padded - orders.shape[1])).to(device)
    return copies[device]
