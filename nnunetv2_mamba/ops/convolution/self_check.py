"""What a backend of the convolution must show before its first use."""

from itertools import product
from math import isnan, nan

import torch
from torch import Tensor

from nnunetv2_mamba.ops.backends import Call
from nnunetv2_mamba.ops.convolution.backends.torch import DepthwiseConvolution
from nnunetv2_mamba.ops.convolution.contract import ConvolutionBackend

LENGTHS = (2, 7, 4099)
"""Shorter than the filter, odd, and longer than what a kernel works on at a time."""
WIDTHS = (1, 2, 3, 7)
"""Besides the usual 4."""


def largest_error(backend: ConvolutionBackend, device: str) -> float:
    """Output and gradients against PyTorch's convolution: the largest error relative to the size of what is compared.

    Both layouts, channels that fill no vector, with and without activation and bias, and the widths that it takes.

    Returns:
        The error; not a number where a result is not.
    """
    widths = [width for width in WIDTHS if backend.unsupported(Call(device, d_state=width)) is None]
    cases = [*product(LENGTHS, (4,), (True, False), (False, True)), *product((50,), widths, (True,), (False,))]
    errors = [_error(backend, device, *case) for case in cases]
    return nan if any(map(isnan, errors)) else max(errors)


def _error(backend: ConvolutionBackend, device: str, length: int, width: int, channels_last: bool, bare: bool) -> float:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device)

    x, dy = (draw(2, length, 24).transpose(1, 2) if channels_last else draw(2, 24, length) for _ in range(2))
    weight, bias = draw(24, width), None if bare else draw(24)
    leaves = [tensor.detach().requires_grad_() for tensor in (x, weight, bias) if tensor is not None]
    with torch.enable_grad():
        y = DepthwiseConvolution().forward(leaves[0], leaves[1], None if bare else leaves[2], not bare)
        expected = [y.detach(), *torch.autograd.grad(y, leaves, dy)]
    with torch.no_grad():
        found = [backend.forward(x, weight, bias, not bare), *backend.backward(dy, x, weight, bias, not bare)]
    errors = [float((a - b).abs().max() / (a.abs().max() + 1e-6)) for a, b in zip(expected, found, strict=False)]
    return nan if any(map(isnan, errors)) else max(errors)
