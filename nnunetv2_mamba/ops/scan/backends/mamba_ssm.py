"""The `mamba_ssm` backend: the CUDA kernel of the optional package mamba-ssm, where it is installed and works."""

import importlib
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import silu

from nnunetv2_mamba.ops.backends import Call
from nnunetv2_mamba.ops.passing import remedy_if_passing
from nnunetv2_mamba.ops.scan.contract import ScanArguments
from nnunetv2_mamba.ops.scan.gate import silu_slope
from nnunetv2_mamba.ops.scan.self_check import largest_error

_MODULE = "mamba_ssm.ops.selective_scan_interface"


class MambaSsmBackend:
    """Adapter to `selective_scan_fn`, the one name that stayed while the compiled module's signature changed.

    The kernel walks contiguous sequences, so directions are gathered into copies and handed over as groups of one call.
    Nothing is saved for the backward pass: it runs the kernel forwards once more.
    """

    name = "mamba_ssm"
    saves_states = False
    reads_half = False

    def unavailable(self, device: str) -> str | None:
        """Needs a CUDA device and an importable package; a broken build is a reason, not an error."""
        if device != "cuda":
            return f"it runs on cuda, not on {device}"
        try:
            importlib.import_module(_MODULE)
        except ModuleNotFoundError as error:
            if error.name == "mamba_ssm":
                return "mamba-ssm is not installed (optional: pip install nnunetv2-mamba[cuda])"
            return f"mamba-ssm is installed without {error.name}; rebuild it with MAMBA_KEEP_CUDA_BUILD=TRUE"
        except (ImportError, OSError, RuntimeError) as error:
            if remedy_if_passing(error):
                raise
            return f"mamba-ssm is installed but does not load: {error}"
        return None

    def unsupported(self, call: Call) -> str | None:
        """The kernel computes in float32 and counts elements in 32 bits."""
        if call.index_bits > 32:
            return "it cannot index tensors of 2^31 elements or more"
        return "it computes in float32, not in float64" if call.dtype == torch.float64 else None

    def self_check(self, device: str) -> float:
        """Largest relative error against the reference."""
        return largest_error(self, device)

    def forward(self, scan: ScanArguments, y: Tensor, states: Tensor) -> None:
        """Scan all directions in one call of the kernel; see `contract.ScanBackend`."""
        orders = scan.orders.to(y.device)
        with torch.no_grad():
            u, delta, A, B, C, D, bias = _sequences(scan, orders)
            sequences = _kernel()(u, delta, A, B, C, D, None, bias, scan.delta_softplus)
        _merge(sequences, orders, y)
        if scan.z is not None:
            y *= silu(scan.z)

    def backward(self, scan: ScanArguments, dy: Tensor, states: Tensor, grads: tuple[Tensor, ...]) -> None:
        """Write all gradients; see `contract.ScanBackend`."""
        orders = scan.orders.to(dy.device)
        gated = dy if scan.z is None else dy * silu(scan.z)
        with torch.enable_grad():
            leaves = [tensor.detach().requires_grad_() for tensor in _sequences(scan, orders)]
            u, delta, A, B, C, D, bias = leaves
            sequences = _kernel()(u, delta, A, B, C, D, None, bias, scan.delta_softplus)
            dy_sequences = torch.cat([gated[:, :, order] for order in orders], 1)
            gathered = torch.autograd.grad(sequences, leaves, dy_sequences)
        du, ddelta, dA, dB, dC, dD, dbias, dz = grads
        _merge(gathered[0], orders, du)
        for target, gradient in ((ddelta, gathered[1]), (dB, gathered[3]), (dC, gathered[4])):
            rows = gradient.unflatten(1, (len(orders), -1))
            for k, order in enumerate(orders):
                target[:, k][..., order] = rows[:, k]
        for target, gradient in ((dA, gathered[2]), (dD, gathered[5]), (dbias, gathered[6])):
            target.copy_(gradient.view_as(target))
        if scan.z is not None:
            _merge(sequences.detach(), orders, dz)
            dz *= dy * silu_slope(scan.z)


def _kernel() -> Callable[..., Tensor]:
    return importlib.import_module(_MODULE).selective_scan_fn


def _sequences(scan: ScanArguments, orders: Tensor) -> tuple[Tensor, ...]:
    """u, delta, A, B, C, D and bias with all directions side by side: K * D channels in K * G groups."""
    u = torch.cat([scan.u[:, :, order] for order in orders], 1)
    delta, B, C = (
        torch.cat([tensor[:, k][..., order] for k, order in enumerate(orders)], 1)
        for tensor in (scan.delta, scan.B, scan.C)
    )
    zeros = scan.A.new_zeros(scan.A.shape[:2])
    D, bias = ((zeros if t is None else t).flatten() for t in (scan.D, scan.delta_bias))
    return u, delta, scan.A.flatten(0, 1), B, C, D, bias


def _merge(sequences: Tensor, orders: Tensor, target: Tensor) -> None:
    target.zero_()
    for order, rows in zip(orders, sequences.chunk(len(orders), 1), strict=True):
        target[:, :, order] += rows
