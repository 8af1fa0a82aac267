"""The `causal_conv1d` backend: the CUDA kernel of the optional package causal-conv1d."""

import importlib
from collections.abc import Callable

import torch
from torch import Tensor

from nnunetv2_mamba.ops.backends import Call
from nnunetv2_mamba.ops.convolution.contract import Gradients
from nnunetv2_mamba.ops.convolution.self_check import largest_error
from nnunetv2_mamba.ops.passing import remedy_if_passing


class PackageConvolution:
    """Adapter to `causal_conv1d_fn`. Nothing is saved for the backward pass: it runs the kernel forwards once more."""

    name = "causal_conv1d"
    traced = False
    float32_only = False

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
            if remedy_if_passing(error):
                raise
            return f"causal-conv1d is installed but does not load: {error}"
        return None

    def unsupported(self, call: Call) -> str | None:
        """The kernel has widths 2 to 4 and no double precision."""
        if not 2 <= call.d_state <= 4:
            return f"it has no filter of width {call.d_state}, only 2 to 4"
        return "it has no float64" if call.dtype == torch.float64 else None

    def self_check(self, device: str) -> float:
        """Largest relative error against PyTorch's convolution."""
        return largest_error(self, device)

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None, activation: bool) -> Tensor:
        """See `contract.ConvolutionBackend`."""
        with torch.no_grad():
            return _like(x, _kernel()(x, weight, bias, activation=_name(activation)))

    def backward(self, dy: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, activation: bool) -> Gradients:
        """See `contract.ConvolutionBackend`."""
        with torch.enable_grad():
            zeros = weight.new_zeros(weight.shape[0])
            leaves = [t.detach().requires_grad_() for t in (x, weight, zeros if bias is None else bias)]
            y = _kernel()(*leaves, activation=_name(activation))
            dx, dweight, dbias = torch.autograd.grad(y, leaves, dy)
        return _like(x, dx), dweight.contiguous(), dbias


def _kernel() -> Callable[..., Tensor]:
    return importlib.import_module("causal_conv1d").causal_conv1d_fn


def _name(activation: bool) -> str | None:
    return "silu" if activation else None


def _like(x: Tensor, result: Tensor) -> Tensor:
    """A result in the memory layout that was promised to torch.compile."""
    promised = torch.empty_like(x)
    return result if result.stride() == promised.stride() else promised.copy_(result)
