"""What a backend of the convolution must show before its first use."""

from itertools import product

import torch
from torch import Tensor

from nnunetv2_mamba.ops.convolution.contract import ConvolutionBackend
from nnunetv2_mamba.ops.convolution.depthwise import DepthwiseConvolution

LENGTHS = (2, 7, 4099)
"""Shorter than the filter, odd, and longer than what a kernel works on at a time."""


def largest_error(backend: ConvolutionBackend, device: str) -> float:
    """Output and gradients against PyTorch's convolution: the largest error relative to the size of what is compared.

    Both layouts, channels that fill no vector, with and without activation and bias.
    """
    return max(_error(backend, device, *case) for case in product(LENGTHS, (True, False), (False, True)))


def _error(backend: ConvolutionBackend, device: str, length: int, channels_last: bool, bare: bool) -> float:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device)

    x, dy = (draw(2, length, 24).transpose(1, 2) if channels_last else draw(2, 24, length) for _ in range(2))
    weight, bias = draw(24, 4), None if bare else draw(24)
    leaves = [tensor.detach().requires_grad_() for tensor in (x, weight, bias) if tensor is not None]
    with torch.enable_grad():
        y = DepthwiseConvolution().forward(leaves[0], leaves[1], None if bare else leaves[2], not bare)
        expected = [y.detach(), *torch.autograd.grad(y, leaves, dy)]
    with torch.no_grad():
        found = [backend.forward(x, weight, bias, not bare), *backend.backward(dy, x, weight, bias, not bare)]
    return max(float((a - b).abs().max() / (a.abs().max() + 1e-6)) for a, b in zip(expected, found, strict=False))
