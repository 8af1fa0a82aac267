"""Residual convolution blocks, and the containers of them."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nnunetv2_mamba.building_blocks.conv_blocks import CellMean, ConvStem, ResidualConvBlock
from nnunetv2_mamba.building_blocks.conv_decoder import ConvUpStage


@pytest.mark.parametrize("width", [4, 6])
@pytest.mark.parametrize("stride", [(1, 1), (2, 1)])
def test_block_is_a_resnet_d_block(width, stride):
    block = ResidualConvBlock(nn.Conv2d, 4, width, kernel_size=(3, 1), stride=stride).double()
    x = torch.randn(2, 4, 6, 8, dtype=torch.float64)
    first, second = block.conv1.conv, block.conv2.conv
    branch = F.leaky_relu(F.instance_norm(F.conv2d(x, first.weight, first.bias, stride, (1, 0))), 0.01)
    branch = F.instance_norm(F.conv2d(branch, second.weight, second.bias, 1, (1, 0)))
    residual = F.avg_pool2d(x, stride) if max(stride) > 1 else x
    if width != 4:
        projection = block.skip[-1].conv
        assert projection.bias is None
        residual = F.instance_norm(F.conv2d(residual, projection.weight))
    torch.testing.assert_close(block(x), F.leaky_relu(branch + residual, 0.01))


@pytest.mark.parametrize("conv_op", [nn.Conv2d, nn.Conv3d])
def test_a_single_position_in_training(conv_op):
    """At the bottleneck of a small patch; torch's own instance norm raises there."""
    axes = 2 if conv_op is nn.Conv2d else 3
    block = ResidualConvBlock(conv_op, 4, 8, kernel_size=(3,) * axes, stride=(2,) * axes)
    y = block(torch.randn(1, 4, *(2,) * axes))
    y.sum().backward()
    assert y.shape == (1, 8, *(1,) * axes)
    assert all(parameter.grad.isfinite().all() for parameter in block.parameters())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_cells_are_averaged_in_any_precision(dtype):
    x = torch.randint(0, 8, (1, 2, 4, 6, 4)).to(dtype)
    y = CellMean((2, 3, 1))(x)
    assert y.dtype == dtype
    expected = x.double().unflatten(2, (2, 2)).unflatten(4, (2, 3)).mean((3, 5))
    torch.testing.assert_close(y.double(), expected, rtol=1e-3 if dtype != torch.bfloat16 else 4e-3, atol=0)


def test_stem_keeps_the_resolution():
    stem = ConvStem(nn.Conv3d, 2, 4, kernel_size=(1, 3, 3))
    assert stem(torch.randn(1, 2, 3, 4, 5)).shape == (1, 4, 3, 4, 5)


def test_decoder_stage_sees_the_upsampled_first_and_the_skip_behind_it():
    stage = ConvUpStage(nn.Conv2d, 8, 4, kernel_size=(3, 3), stride=(1, 2), n_blocks=2, checkpointed=False)
    x, skip, seen = torch.randn(1, 8, 3, 4), torch.randn(1, 4, 3, 8), []
    stage.blocks[0].register_forward_pre_hook(lambda block, inputs: seen.append(inputs[0]))
    assert stage(x, skip).shape == skip.shape
    assert torch.equal(seen[0][:, :4], stage.transpconv(x))
    assert torch.equal(seen[0][:, 4:], skip)
