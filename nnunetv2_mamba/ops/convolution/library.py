"""The convolution as one opaque `torch.library` op, for the backends that torch.compile cannot look into."""

import torch
from torch import Tensor

from nnunetv2_mamba.ops.convolution.registry import REGISTRY


@torch.library.custom_op("nnunetv2_mamba::causal_conv1d", mutates_args=())
def opaque_conv1d(x: Tensor, weight: Tensor, bias: Tensor | None, activation: bool, backend: str) -> Tensor:
    """The convolution of `interface` by a backend that is not made of PyTorch's operations."""
    with torch.autocast(x.device.type, enabled=False):
        return REGISTRY.backends[backend].forward(x, weight, bias, activation)


@opaque_conv1d.register_fake
def _(x, weight, bias, activation, backend):
    return torch.empty_like(x)


@torch.library.custom_op("nnunetv2_mamba::causal_conv1d_backward", mutates_args=())
def _opaque_backward(
    dy: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, activation: bool, backend: str
) -> tuple[Tensor, Tensor, Tensor]:
    with torch.autocast(x.device.type, enabled=False):
        return REGISTRY.backends[backend].backward(dy, x, weight, bias, activation)


@_opaque_backward.register_fake
def _(dy, x, weight, bias, activation, backend):
    dweight = torch.empty_like(weight, memory_format=torch.contiguous_format)
    return torch.empty_like(x), dweight, weight.new_empty(weight.shape[0])


def _setup_context(ctx, inputs, output) -> None:
    x, weight, bias, *ctx.static = inputs
    ctx.save_for_backward(x, weight, bias)


def _backward(ctx, dy: Tensor):
    x, weight, bias = ctx.saved_tensors  # once: activation checkpointing does not answer twice
    dx, dweight, dbias = _opaque_backward(dy, x, weight, bias, *ctx.static)
    return dx, dweight, None if bias is None else dbias, None, None


opaque_conv1d.register_autograd(_backward, setup_context=_setup_context)
