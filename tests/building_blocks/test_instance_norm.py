"""Instance normalisation."""

import pytest
import torch
from torch.nn import functional as F

from nnunetv2_mamba.building_blocks.instance_norm import InstanceNorm, instance_normalise


def test_is_torchs_wherever_that_runs():
    x = 3 * torch.randn(2, 4, 5, 6) + 1
    torch.testing.assert_close(instance_normalise(x), F.instance_norm(x))
    norm = InstanceNorm(4)
    norm.weight.data.copy_(torch.arange(4.0))
    norm.bias.data.copy_(torch.arange(4.0))
    torch.testing.assert_close(norm(x), F.instance_norm(x, weight=norm.weight, bias=norm.bias))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_an_offset_costs_no_digits(layout):
    x = (torch.randn(2, 16, 24, 24, dtype=torch.float64) + 100).float()
    expected = F.instance_norm(x.double())
    error = (InstanceNorm(16)(x.contiguous(memory_format=layout)) - expected).abs().max()
    assert error < 1e-3


def test_single_position_becomes_zero():
    assert torch.equal(instance_normalise(torch.randn(1, 3, 1, 1)), torch.zeros(1, 3, 1, 1))


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_single_position_becomes_the_bias_in_training(axes):
    norm = InstanceNorm(3)
    norm.bias.data.copy_(torch.arange(3.0))
    y = norm(torch.randn(1, 3, *(1,) * axes))
    assert torch.equal(y.flatten(), torch.arange(3.0))
    y.sum().backward()
    assert torch.equal(norm.bias.grad, torch.ones(3))
