"""The public function: shapes are checked, a backend is chosen."""

import torch
from torch import Tensor

from nnunetv2_mamba.ops.backends import Call
from nnunetv2_mamba.ops.convolution.library import opaque_conv1d
from nnunetv2_mamba.ops.convolution.registry import REGISTRY


def causal_conv1d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, activation: str | None = None, *, backend: str | None = None
) -> Tensor:
    """Depthwise convolution that looks back only: y_t = sum_w weight[w] x_{t-W+1+w} + bias, zeros before the start.

    A drop-in for `causal_conv1d.causal_conv1d_fn` without its state arguments. On the CPU a transposed (batch, L, D) is
    the quick layout.

    Args:
        x: input (batch, D, L).
        weight: filters (D, W).
        bias: (D,).
        activation: None, ``"silu"`` or its other name ``"swish"``, applied to the result.
        backend: name of a backend, instead of the fastest that works.

    Returns:
        Tensor (batch, D, L).

    Raises:
        ValueError: shapes do not fit or the activation is unknown.
        BackendError: the named backend is unknown or cannot run.
    """
    if x.ndim != 3 or weight.ndim != 2 or weight.shape[0] != x.shape[1]:
        raise ValueError(f"x {tuple(x.shape)} and weight {tuple(weight.shape)} must be (batch, D, L) and (D, W)")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias {tuple(bias.shape)} must be ({weight.shape[0]},), as weight {tuple(weight.shape)} asks")
    if activation not in (None, "silu", "swish"):
        raise ValueError(f"activation {activation!r} is unknown; use None, 'silu' or 'swish'")
    name = _select(x.device.type, x.dtype == torch.float64, weight.shape[1], x.stride(1) == 1, backend)
    chosen, silu = REGISTRY.backends[name], activation is not None
    if chosen.traced:
        return chosen.forward(x, weight, bias, silu)
    if not chosen.float32_only:
        return opaque_conv1d(x, weight, bias, silu, name)
    single = None if bias is None else bias.float()
    return opaque_conv1d(x.float(), weight.float(), single, silu, name).to(x.dtype)


@torch.compiler.assume_constant_result
def _select(device: str, double: bool, width: int, channels_last: bool, backend: str | None) -> str:
    if device == "meta":
        return "torch"  # shapes only: no backend runs
    dtype = torch.float64 if double else torch.float32
    return REGISTRY.select(Call(device, dtype, width, channels_last=channels_last), backend)
