"""Causal depthwise convolution along a sequence, the short filter in front of every Mamba-1 scan."""

import importlib

import torch
from torch import Tensor
from torch.nn.functional import conv1d, silu

from nnunetv2_mamba.ops.backends import Backend, BackendRegistry, Call


def causal_conv1d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, activation: str | None = None, *, backend: str | None = None
) -> Tensor:
    """Depthwise convolution that looks back only: y_t = sum_w weight[w] x_{t-W+1+w} + bias, zeros before the start.

    A drop-in for `causal_conv1d.causal_conv1d_fn` without its state arguments.

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
    if activation not in (None, "silu", "swish"):
        raise ValueError(f"activation {activation!r} is unknown; use None, 'silu' or 'swish'")
    if _select(x.device.type, x.dtype == torch.float64, weight.shape[1], backend) == "causal_conv1d":
        return _package_conv1d(x, weight, bias, activation)
    return _depthwise(x, weight, bias, activation)


@torch.compiler.assume_constant_result
def _select(device: str, double: bool, width: int, backend: str | None) -> str:
    return REGISTRY.select(Call(device, torch.float64 if double else torch.float32, width), backend)


def _depthwise(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str | None) -> Tensor:
    width = weight.shape[1]
    y = conv1d(x, weight.unsqueeze(1), bias, padding=width - 1, groups=x.shape[1])[..., : x.shape[-1]]
    return y if activation is None else silu(y)


@torch.library.custom_op("nnunetv2_mamba::causal_conv1d", mutates_args=())
def _package_conv1d(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str | None) -> Tensor:
    with torch.no_grad():
        return _package_kernel()(x, weight, bias, activation=activation).contiguous()


@_package_conv1d.register_fake
def _(x, weight, bias, activation):
    return x.new_empty(x.shape)


@torch.library.custom_op("nnunetv2_mamba::causal_conv1d_backward", mutates_args=())
def _package_conv1d_backward(
    dy: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, activation: str | None
) -> tuple[Tensor, Tensor, Tensor]:
    with torch.enable_grad():
        zeros = weight.new_zeros(weight.shape[0])
        leaves = [t.detach().requires_grad_() for t in (x, weight, zeros if bias is None else bias)]
        dx, dweight, dbias = torch.autograd.grad(_package_kernel()(*leaves, activation=activation), leaves, dy)
    return dx.contiguous(), dweight, dbias


@_package_conv1d_backward.register_fake
def _(dy, x, weight, bias, activation):
    dbias = weight.new_empty(weight.shape[0])
    return x.new_empty(x.shape), torch.empty_like(weight), dbias


def _setup_context(ctx, inputs, output) -> None:
    x, weight, bias, ctx.activation = inputs
    ctx.save_for_backward(x, weight, bias)


def _backward(ctx, dy: Tensor):
    x, weight, bias = ctx.saved_tensors  # once: activation checkpointing does not answer twice
    dx, dweight, dbias = _package_conv1d_backward(dy, x, weight, bias, ctx.activation)
    return dx, dweight, None if bias is None else dbias, None


_package_conv1d.register_autograd(_backward, setup_context=_setup_context)


def _package_kernel():
    return importlib.import_module("causal_conv1d").causal_conv1d_fn


class DepthwiseBackend:
    """torch's own grouped convolution, padded and cut; runs everywhere."""

    name = "torch"

    def unavailable(self, device: str) -> str | None:
        """It runs wherever torch does."""
        return None

    def unsupported(self, call: Call) -> str | None:
        """It takes every call."""
        return None

    def self_check(self, device: str) -> float:
        """It is what the other is compared with."""
        return 0.0


class CausalConv1dBackend:
    """The CUDA kernel of the optional package causal-conv1d."""

    name = "causal_conv1d"

    def unavailable(self, device: str) -> str | None:
        """Needs a CUDA device and an importable package; a broken build is a reason, not an error."""
        if device != "cuda":
            return f"it runs on cuda, not on {device}"
        try:
            importlib.import_module("causal_conv1d")
        except ModuleNotFoundError as error:
            if error.name != "causal_conv1d":
                return f"causal-conv1d is broken: {error}"
            return "causal-conv1d is not installed (optional: pip install nnunetv2-mamba[cuda])"
        except (ImportError, OSError, RuntimeError) as error:
            return f"causal-conv1d is installed but does not load: {error}"
        return None

    def unsupported(self, call: Call) -> str | None:
        """The kernel has widths 2 to 4 and no double precision."""
        if not 2 <= call.d_state <= 4:
            return f"it has no filter of width {call.d_state}, only 2 to 4"
        return "it has no float64" if call.dtype == torch.float64 else None

    def self_check(self, device: str) -> float:
        """Output and gradients against torch's convolution, on an odd length and a long one."""
        kernel = _package_kernel()
        return max(self._error(kernel, device, length) for length in (7, 4099))

    @staticmethod
    def _error(kernel, device: str, length: int) -> float:
        generator = torch.Generator().manual_seed(0)
        shapes = ((2, 8, length), (8, 4), (8,))
        x, weight, bias = (torch.randn(shape, generator=generator).to(device).requires_grad_() for shape in shapes)
        results = []
        for y in (_depthwise(x, weight, bias, "silu"), kernel(x, weight, bias, activation="silu")):
            results.append([y, *torch.autograd.grad(y.sum(), (x, weight, bias))])
        return max(float((a - b).abs().max() / (a.abs().max() + 1e-6)) for a, b in zip(*results, strict=True))


REGISTRY: BackendRegistry[Backend] = BackendRegistry("causal_conv1d", [CausalConv1dBackend(), DepthwiseBackend()])
