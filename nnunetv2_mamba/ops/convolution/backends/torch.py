"""The `torch` backend: PyTorch's own grouped convolution, padded and cut; runs everywhere."""

from torch import Tensor
from torch.nn.functional import conv1d, silu

from nnunetv2_mamba.ops.backends import Call
from nnunetv2_mamba.ops.convolution.contract import Gradients


class DepthwiseConvolution:
    """What the others are compared with."""

    name = "torch"
    traced = True
    float32_only = False

    def unavailable(self, device: str) -> str | None:
        """It runs wherever torch does."""
        return None

    def unsupported(self, call: Call) -> str | None:
        """It takes every call."""
        return None

    def self_check(self, device: str) -> float:
        """It is what the others are compared with."""
        return 0.0

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None, activation: bool) -> Tensor:
        """See `contract.ConvolutionBackend`."""
        width = weight.shape[1]
        y = conv1d(x, weight.unsqueeze(1), bias, padding=width - 1, groups=x.shape[1])[..., : x.shape[-1]]
        return silu(y) if activation else y

    def backward(self, dy: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, activation: bool) -> Gradients:
        """PyTorch differentiates it."""
        raise NotImplementedError("the backend torch is traced by autograd and has no backward pass of its own")
