"""The `triton` backend: kernels compiled at their first call by the compiler that PyTorch brings along for CUDA."""

import importlib
import os
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from nnunetv2_mamba.ops.backends import Call
from nnunetv2_mamba.ops.passing import remedy_if_passing
from nnunetv2_mamba.ops.scan.contract import CHUNK, ScanArguments
from nnunetv2_mamba.ops.scan.self_check import largest_error
from nnunetv2_mamba.ops.scan.triton_plan import (
    BACKWARD,
    FORWARD,
    OPTIONS,
    Destination,
    Inputs,
    LaunchPlan,
    channels_last,
    segment_carries,
    strides,
)


class TritonBackend:
    """Reads half and single precision, computes in float32; deterministic, since nothing is added up atomically.

    Channels-last tensors are read and written in place; others are copied into that layout first.
    """

    name = "triton"
    saves_states = True
    reads_half = True

    def unavailable(self, device: str) -> str | None:
        """It needs a CUDA device and a Triton that imports; Triton's interpreter runs anywhere, for tests."""
        elsewhere = None if device == "cuda" else f"it runs on cuda, not on {device}"
        if not elsewhere and torch.version.hip:
            return "its kernels are written for NVIDIA's GPUs, this PyTorch is built for ROCm"
        if elsewhere and not os.environ.get("TRITON_INTERPRET"):
            return elsewhere
        try:
            kernels = importlib.import_module("nnunetv2_mamba.ops.scan.triton_forward")
        except (ImportError, OSError, RuntimeError) as error:
            if remedy_if_passing(error):
                raise
            if getattr(error, "name", None) == "triton":
                return "triton is not installed, PyTorch brings it along for CUDA on Linux only"
            return f"triton does not import: {' '.join(str(error).split())}"
        if type(kernels.scan_forward).__name__ == "InterpretedFunction":
            return None
        if elsewhere:
            return elsewhere
        if not torch.cuda.is_available():
            return "PyTorch sees no CUDA device"
        major, minor = torch.cuda.get_device_capability()
        return None if (major, minor) >= (7, 5) else f"it needs compute capability 7.5, this GPU has {major}.{minor}"

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
            plan = LaunchPlan(scan, FORWARD)
            inputs = Inputs(scan, plan)
            carry = segment_carries(inputs, plan)
            target = Destination(y, plan.slots)
            for first in range(0, plan.directions, plan.slots):
                # Only the sum over all directions goes through the gate.
                gated = scan.z is not None and first + plan.slots == plan.directions
                scan_forward[plan.programs(plan.slots, plan.segments)](
                    *inputs.tensors, target.tensor, states, carry, *inputs.strides, *target.strides,
                    first, plan.slots, states.shape[2], *plan.sizes,
                    SAVE=states.shape[2] > 0, ADD=first > 0, CHUNK=CHUNK,
                    **inputs.flags | {"GATE": gated}, **plan.compiled_for,
                )  # fmt: skip
            target.finish()

    def backward(self, scan: ScanArguments, dy: Tensor, states: Tensor, grads: tuple[Tensor, ...]) -> None:
        """Write all gradients; see `contract.ScanBackend`."""
        from nnunetv2_mamba.ops.scan.triton_backward import scan_backward
        from nnunetv2_mamba.ops.scan.triton_projections import scatter_projections

        du, ddelta, dA, dB, dC, dD, dbias, dz = grads
        with _on_device_of(dy):
            plan = LaunchPlan(scan, BACKWARD)
            inputs, dy = Inputs(scan, plan), channels_last(dy)
            carry = segment_carries(inputs, plan, dy)
            targets = [Destination(du, plan.slots), Destination(ddelta), *([] if scan.z is None else [Destination(dz)])]
            du_target, ddelta_target, dz_target = targets[0], targets[1], targets[-1]
            starts = carry.new_empty(plan.starts)
            of_channels = carry.new_zeros(*carry.shape[:3], plan.d_state + 2, plan.columns)
            parts = carry.new_empty(plan.parts)
            for first in range(0, plan.directions, plan.slots):
                scan_backward[plan.programs(plan.slots, plan.segments)](
                    *inputs.tensors, dy, states, starts, carry, du_target.tensor, ddelta_target.tensor,
                    dz_target.tensor, of_channels, parts, *inputs.strides, *strides(dy),
                    *du_target.strides, *ddelta_target.strides[1:], *dz_target.strides[-2:],
                    first, plan.slots, states.shape[2], *plan.sizes,
                    ADD=first > 0, CHUNK=CHUNK, **inputs.flags, **plan.compiled_for,
                )  # fmt: skip
                scatter_projections[plan.padded // CHUNK * plan.batch * plan.slots * plan.groups, 1, 1](
                    parts, inputs.tensors[-1], dB, dC, *dB.stride(), *dC.stride(), first, plan.slots, plan.groups,
                    plan.d_state, plan.length, plan.padded, plan.blocks, VISITS=CHUNK, STATES=CHUNK, **OPTIONS,
                )  # fmt: skip
            for target in targets:
                target.finish()
            sums = plan.by_group(of_channels.sum((0, 2))).flatten(-2)
            dA.copy_(sums[:, : plan.d_state].transpose(-1, -2))
            dD.copy_(sums[:, plan.d_state])
            dbias.copy_(sums[:, plan.d_state + 1])


def _on_device_of(tensor: Tensor) -> AbstractContextManager[None]:
    """Triton launches on the current device, which need not be the one that the tensors are on."""
    return torch.cuda.device(tensor.device) if tensor.device.type == "cuda" else nullcontext()
