"""Depthwise convolutions: results and gradients are those of PyTorch."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nnunetv2_mamba.building_blocks.depthwise import depthwise_convolution, depthwise_gradients

CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
sizes = pytest.mark.parametrize("size", [(7,), (4, 5), (3, 4, 5), (1, 1, 2), (5, 1, 3)], ids=str)


@sizes
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "plain"])
def test_is_a_grouped_convolution(size, bias):
    torch.manual_seed(0)
    # Channels last in memory, as the blocks have them.
    x = torch.randn(2, *size, 6, dtype=torch.float64).movedim(-1, 1).requires_grad_()
    weight = torch.randn(6, 1, *(3,) * len(size), dtype=torch.float64, requires_grad=True)
    leaves = [x, weight, *([torch.randn(6, dtype=torch.float64, requires_grad=True)] if bias else [])]
    expected = CONVOLUTIONS[len(size)](*leaves, padding=1, groups=6)
    result = depthwise_convolution(*leaves)
    torch.testing.assert_close(result, expected)
    direction = torch.randn_like(expected)
    gradients = torch.autograd.grad(expected, leaves, direction)
    for own, theirs in zip(torch.autograd.grad(result, leaves, direction), gradients, strict=True):
        torch.testing.assert_close(own, theirs)
    for own, theirs in zip(depthwise_gradients(direction, x.detach(), weight.detach()), gradients, strict=False):
        torch.testing.assert_close(own, theirs)


def test_follows_autocast():
    convolution = nn.Conv3d(4, 4, 3, padding=1, groups=4)
    x = torch.randn(1, 4, 3, 4, 5)
    with torch.autocast("cpu", torch.bfloat16):
        result = depthwise_convolution(x, convolution.weight, convolution.bias)
        assert result.dtype == torch.bfloat16
        torch.testing.assert_close(result, convolution(x))
    result.float().sum().backward()
    assert convolution.weight.grad.isfinite().all()
