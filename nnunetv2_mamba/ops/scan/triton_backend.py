"""The `triton` backend: kernels that are compiled by the driver stack at their first call; PyTorch brings Triton along."""

import importlib
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from nnunetv2_mamba.ops.backends import Call
from nnunetv2_mamba.ops.scan.contract import CHUNK, ScanArguments
from nnunetv2_mamba.ops.scan.self_check import largest_error
from nnunetv2_mamba.ops.scan.triton_plan import Inputs, Plan, Target, channels_last, segment_carries


class TritonBackend:
    """Reads half and single precision, computes in float32; deterministic, as nothing is added up atomically.

    Channels-last tensors are read and written in place; others are copied into that layout first.
    """

    name = "triton"
    saves_states = True
    reads_half = True

    def unavailable(self, device: str) -> str | None:
        """It needs a CUDA device and a Triton that imports; Triton's interpreter runs anywhere, for tests."""
        if device not in ("cuda", "cpu"):
            return f"it runs on cuda, not on {device}"
        try:
            kernels = importlib.import_module("nnunetv2_mamba.ops.scan.triton_forward")
        except (ImportError, OSError, RuntimeError) as error:
            return f"triton does not import: {error}"
        if type(kernels.scan_forward).__name__ == "InterpretedFunction":
            return None
        if device == "cpu":
            return "it runs on cuda, not on cpu (in tests it does, with TRITON_INTERPRET=1)"
        if not torch.cuda.is_available():
            return "PyTorch sees no CUDA device"
        capability = torch.cuda.get_device_capability()
        if torch.version.hip is None and capability < (7, 5):
            return f"it needs a GPU of compute capability 7.5, this one has {'.'.join(map(str, capability))}"
        return None

    def unsupported(self, call: Call) -> str | None:
        """It computes in float32."""
        return "it computes in float32, not in float64" if call.dtype == torch.float64 else None

    def self_check(self, device: str) -> float:
        """Largest relative error against the reference."""
        return largest_error(self, device)

    def forward(self, scan: ScanArguments, y: Tensor, states: Tensor) -> None:
        """Scan every direction; see `contract.ScanBackend`."""
        from nnunetv2_mamba.ops.scan.triton_forward import scan_forward

        with _on_device_of(y):
            plan = Plan(scan, tile=16, per_thread=2, warps=1)
            inputs = Inputs(scan, plan)
            carry = segment_carries(inputs, plan, inputs.u, inputs.B, backward=False)
            target = Target(y, plan.slots)
            for first in range(0, plan.directions, plan.slots):
                gated = scan.z is not None and first + plan.slots == plan.directions
                scan_forward[plan.programs(plan.slots, plan.segments)](
                    *inputs.pointers, target.tensor, states, carry,
                    *inputs.u.stride(), *inputs.delta.stride(), *inputs.z_strides, *target.strides,
                    first, plan.slots, plan.directions, plan.per_group, plan.blocks, plan.d_state, plan.length,
                    plan.padded, states.shape[2], plan.segment,
                    SAVE=states.shape[2] > 0, ADD=first > 0, CHUNK=CHUNK, **inputs.options | {"GATE": gated}, **plan.tiling,
                )  # fmt: skip
            target.finish()

    def backward(self, scan: ScanArguments, dy: Tensor, states: Tensor, grads: tuple[Tensor, ...]) -> None:
        """Write all gradients; see `contract.ScanBackend`."""
        from nnunetv2_mamba.ops.scan.triton_backward import scan_backward
        from nnunetv2_mamba.ops.scan.triton_projections import scatter_projections

        du, ddelta, dA, dB, dC, dD, dbias, dz = grads
        with _on_device_of(dy):
            plan = Plan(scan, tile=16, per_thread=4, warps=1)
            inputs, dy = Inputs(scan, plan), channels_last(dy)
            carry = segment_carries(inputs, plan, dy, inputs.C, backward=True)
            targets = Target(du, plan.slots), Target(ddelta), Target(du if scan.z is None else dz)
            per_segment = (plan.batch, plan.directions, plan.segments)
            starts = carry.new_empty(*per_segment, CHUNK // plan.visits, plan.d_state, plan.columns)
            of_channels = carry.new_zeros(*per_segment, plan.d_state + 2, plan.columns)
            parts = carry.new_empty(plan.blocks, *inputs.B.shape, 2)
            for first in range(0, plan.directions, plan.slots):
                scan_backward[plan.programs(plan.slots, plan.segments)](
                    *inputs.pointers, dy, states, starts, carry,
                    *(target.tensor for target in targets), of_channels, parts,
                    *inputs.u.stride(), *inputs.delta.stride(), *inputs.z_strides, *dy.stride(),
                    *targets[0].strides, *targets[1].strides[1:], *targets[2].strides[1:],
                    first, plan.slots, plan.directions, plan.per_group, plan.blocks, plan.d_state, plan.length,
                    plan.padded, states.shape[2], plan.segment,
                    ADD=first > 0, CHUNK=CHUNK, **inputs.options, **plan.tiling,
                )  # fmt: skip
            for target in targets[: 2 if scan.z is None else 3]:
                target.finish()
            scatter_projections[plan.padded // CHUNK, plan.batch * plan.directions * plan.groups, 1](
                parts, inputs.orders, dB, dC, *dB.stride(), *dC.stride(),
                plan.directions, plan.groups, plan.d_state, plan.length, plan.padded, plan.blocks,
                VISITS=CHUNK, STATES=CHUNK,
            )  # fmt: skip
            sums = plan.channels_of(of_channels.sum((0, 2)))
            dA.copy_(sums[:, : plan.d_state].transpose(-1, -2))
            dD.copy_(sums[:, plan.d_state])
            dbias.copy_(sums[:, plan.d_state + 1])


def _on_device_of(tensor: Tensor) -> AbstractContextManager[None]:
    """Triton launches on the current device, which need not be the one that the tensors are on."""
    return torch.cuda.device(tensor.device) if tensor.device.type == "cuda" else nullcontext()
