"""The public function: shapes are checked, a backend is chosen."""

from operator import index

import torch
from torch import Tensor

from nnunetv2_mamba.ops.backends import Call, check_kinds
from nnunetv2_mamba.ops.convolution.library import opaque_conv1d
from nnunetv2_mamba.ops.convolution.registry import REGISTRY


def causal_conv1d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, activation: str | None = None, *, backend: str | None = None
) -> Tensor:
    """Depthwise convolution that looks back only: y_t = sum_w weight[w] x_{t-W+1+w} + bias, zeros before the start.

    A drop-in for `causal_conv1d.causal_conv1d_fn` without its state arguments. Computed in the dtype of x, or wider,
    whatever autocast is in force. On the CPU a transposed (batch, L, D) is the quick layout. Gradients of gradients and
    forward-mode derivatives are available from the backend ``"torch"`` only.

    Args:
        x: input (batch, D, L).
        weight: filters (D, W).
        bias: (D,).
        activation: None, ``"silu"`` or its other name ``"swish"``, applied to the result.
        backend: name of a backend, instead of the fastest that works.

    Returns:
        Tensor (batch, D, L).

    Raises:
        ValueError: shapes or devices do not fit, there are no channels, no taps, other than real floating-point
            numbers, or an unknown activation.
        BackendError: the named backend is unknown or cannot run.
    """
    if x.ndim != 3 or weight.ndim != 2 or weight.shape[0] != x.shape[1]:
        raise ValueError(f"x {tuple(x.shape)} and weight {tuple(weight.shape)} must be (batch, D, L) and (D, W)")
    if 0 in weight.shape:
        raise ValueError(f"weight {tuple(weight.shape)} has no numbers; at least one channel and one tap are needed")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias {tuple(bias.shape)} must be ({weight.shape[0]},), as weight {tuple(weight.shape)} asks")
    if activation not in (None, "silu", "swish"):
        raise ValueError(f"activation {activation!r} is unknown; use None, 'silu' or 'swish'")
    check_kinds("convolution", (x, weight, bias))
    # A branch, which torch.compile settles by a guard; the comparison itself would stay one of symbols.
    layout = "channels_last" if x.stride(1) == 1 else "channels_first"
    name = _select(x.device.type, x.dtype == torch.float64, index(weight.shape[1]), layout, backend)
    chosen, silu = REGISTRY.backends[name], activation is not None
    dtype = torch.float32 if chosen.float32_only else x.dtype
    given = x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype), silu
    if not chosen.traced:
        return opaque_conv1d(*given, name).to(x.dtype)
    with torch.autocast(x.device.type, enabled=False):
        return chosen.forward(*given)


@torch.compiler.assume_constant_result
def _select(device: str, double: bool, width: int, layout: str, backend: str | None) -> str:
    if device == "meta":
        return "torch"  # shapes only: no backend runs
    dtype = torch.float64 if double else torch.float32
    return REGISTRY.select(Call(device, dtype, width, channels_last=layout == "channels_last"), backend)
