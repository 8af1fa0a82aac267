"""What a backend of the convolution must offer, unless it is plain PyTorch."""

from typing import Protocol

from torch import Tensor

from nnunetv2_mamba.ops.backends import Backend

Gradients = tuple[Tensor, Tensor, Tensor]


class ConvolutionBackend(Backend, Protocol):
    """Forward and backward pass as two functions of tensors, which `library` makes one differentiable op of.

    Attributes:
        traced: whether calls go straight to `forward`, made of PyTorch's own operations and differentiated by it;
            there is no `backward` then.
        float32_only: whether inputs have to be cast to float32.
    """

    traced: bool
    float32_only: bool

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None, activation: bool) -> Tensor:
        """The filtered x (batch, D, L), new memory; SiLU follows where there is an activation."""
        ...

    def backward(self, dy: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, activation: bool) -> Gradients:
        """Gradients of x, weight and bias, the last one also where there is no bias."""
        ...
