"""The scan and its two controls: what they share, and what each of them lets a token see."""

import pytest
import torch
from torch import nn

from nnunetv2_mamba.building_blocks.mixers import MIXERS, find_mixer
from nnunetv2_mamba.building_blocks.vss_block import EnVSSBlock, RSSSBlock, VSSBlock

GRIDS = {nn.Conv2d: (9, 11), nn.Conv3d: (5, 4, 6)}
sweep = pytest.mark.parametrize("mixer", MIXERS)
in_2d_and_3d = pytest.mark.parametrize("conv_op", [nn.Conv2d, nn.Conv3d], ids=["2d", "3d"])


def parameters(mixer: str, channels: int, conv_op: type[nn.Module]) -> int:
    return sum(parameter.numel() for parameter in find_mixer(mixer)(channels, conv_op).parameters())


def seen(mixer: str, conv_op: type[nn.Module], *, depthwise_conv: bool) -> torch.Tensor:
    """Which tokens of the grid the central one depends on (bool, *spatial)."""
    torch.manual_seed(0)
    block = find_mixer(mixer)(8, conv_op, 4, depthwise_conv=depthwise_conv).double()
    grid = GRIDS[conv_op]
    x = torch.randn(1, *grid, 8, dtype=torch.float64, requires_grad=True)
    centre = tuple(size // 2 for size in grid)
    block(x)[(0, *centre)].sum().backward()
    return x.grad[0].abs().sum(-1) > 0


@sweep
@in_2d_and_3d
@pytest.mark.parametrize("depthwise_conv", [True, False])
def test_every_mixer_keeps_the_shape_and_has_gradients(mixer, conv_op, depthwise_conv):
    block = find_mixer(mixer)(8, conv_op, 4, depthwise_conv=depthwise_conv)
    x = torch.randn(2, *GRIDS[conv_op], 8)
    assert block(x).shape == x.shape
    block(x).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in block.parameters())


@in_2d_and_3d
def test_without_its_scan_a_token_sees_itself_or_its_neighbours(conv_op):
    assert seen("identity", conv_op, depthwise_conv=False).sum() == 1
    assert seen("identity", conv_op, depthwise_conv=True).sum() == 3 ** len(GRIDS[conv_op])


@in_2d_and_3d
def test_the_scan_sees_every_token(conv_op):
    assert seen("scan", conv_op, depthwise_conv=False).all()


@in_2d_and_3d
def test_the_convolution_sees_its_kernel(conv_op):
    kernel = find_mixer("convolution")(8, conv_op, 4).mixing_conv.kernel_size
    expected = 1
    for size, length in zip(kernel, GRIDS[conv_op], strict=True):
        expected *= min(size, length)
    assert seen("convolution", conv_op, depthwise_conv=False).sum() == expected


@in_2d_and_3d
@pytest.mark.parametrize("channels", [16, 64, 96, 256, 768])
def test_the_convolution_has_the_parameters_of_the_scan_or_the_next_kernel_below(channels, conv_op):
    convolution = find_mixer("convolution")(channels, conv_op)
    budget = parameters("scan", channels, conv_op) - parameters("identity", channels, conv_op)
    size, ndim = convolution.mixing_conv.kernel_size[0], len(GRIDS[conv_op])
    assert size % 2 == 1
    assert size**ndim * convolution.d_inner <= budget < (size + 2) ** ndim * convolution.d_inner


@sweep
@pytest.mark.parametrize("block", [VSSBlock, EnVSSBlock, RSSSBlock])
def test_every_block_takes_every_mixer(mixer, block):
    assert type(block(16, d_state=2, mixer=mixer).self_attention) is MIXERS[mixer]


def test_an_unknown_mixer_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="mixer is 'attention'; use one of 'scan', 'identity', 'convolution'"):
        VSSBlock(8, mixer="attention")
