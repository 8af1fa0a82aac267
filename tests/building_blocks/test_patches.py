"""Patch embedding, merging and expanding."""

from math import prod

import pytest
import torch
from torch import nn

from nnunetv2_mamba.building_blocks import FinalPatchExpand, PatchEmbed, PatchExpand, PatchMerging
from nnunetv2_mamba.building_blocks.layout import channels_first, depth_to_space, space_to_depth, spatial_dims

STRIDES = [(2, 2), (1, 2), (2, 2, 2), (1, 2, 3)]


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_merging_order_is_that_of_vmamba():
    x = torch.arange(2 * 4 * 6 * 3.0).reshape(2, 4, 6, 3)
    cells = [x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]]
    assert torch.equal(space_to_depth(x, (2, 2)), torch.cat(cells, dim=-1))


def test_expanding_order_is_row_column_channel():
    x = torch.arange(12.0).reshape(1, 1, 1, 12)
    assert depth_to_space(x, (2, 2))[0].tolist() == [[[0, 1, 2], [3, 4, 5]], [[6, 7, 8], [9, 10, 11]]]


@pytest.mark.parametrize("stride", STRIDES, ids=str)
def test_both_only_move_numbers_within_their_cell(stride):
    grid = [2 * step for step in stride]
    x = torch.randn(2, *grid, 5)
    cells = space_to_depth(x, stride)
    assert cells.shape == (2, *(2,) * len(stride), prod(stride) * 5)
    first_cell = x[(0, *(slice(step) for step in stride))]
    assert torch.equal(cells[0].flatten(0, -2)[0].sort().values, first_cell.flatten().sort().values)
    spread = depth_to_space(cells, stride)
    assert spread.shape == x.shape
    assert torch.equal(space_to_depth(spread, stride).sort(-1).values, cells.sort(-1).values)


@pytest.mark.parametrize("stride", STRIDES, ids=str)
def test_sizes(stride):
    C, S = 8, prod(stride)
    assert count(PatchMerging(C, 2 * C, stride)) == 2 * S * C + S * C * 2 * C
    assert count(PatchExpand(2 * C, C, stride)) == 2 * C * S * C + 2 * C
    assert count(FinalPatchExpand(4 * C, stride)) == 4 * C * S * C + 2 * C


def test_published_sizes():
    assert count(PatchEmbed(3, 96, (4, 4))) == 4_896
    assert count(PatchMerging(96, 192, (2, 2))) == 8 * 96**2 + 8 * 96
    assert count(PatchExpand(192, 96, (2, 2))) == 8 * 96**2 + 2 * 96
    assert count(FinalPatchExpand(96, (4, 4))) == 36_912


def test_narrow_final_expand_still_carries_information():
    expand = FinalPatchExpand(4, (4, 4))
    assert expand(torch.randn(1, 3, 3, 4)).flatten(0, -2).std(0).min() > 0.1


@pytest.mark.parametrize("stride", STRIDES, ids=str)
@pytest.mark.parametrize("checkpointed", [False, True])
def test_segmenting_is_expanding_and_then_the_head(stride, checkpointed):
    torch.manual_seed(0)
    expand = FinalPatchExpand(20, stride, checkpointed).double()
    head = {2: nn.Conv2d, 3: nn.Conv3d}[len(stride)](expand.output_channels, 3, 1).double()
    results = []
    for segment in (expand.segment, lambda x, head: head(channels_first(expand(x)))):
        x = torch.randn(2, *(3, 2, 4)[: len(stride)], 20, generator=torch.Generator().manual_seed(1)).double()
        logits = segment(x.requires_grad_(), head)
        gradients = torch.autograd.grad(logits.square().sum(), [x, *expand.parameters(), *head.parameters()])
        results.append([logits, *gradients])
    for ours, plain in zip(*results, strict=True):
        torch.testing.assert_close(ours, plain)


def test_embedding_sees_each_patch_alone():
    embed = PatchEmbed(2, 8, (4, 2))
    x = torch.randn(1, 2, 8, 6)
    moved = x.clone()
    moved[:, :, 4:, :2] += torch.randn(4, 2)
    changed = (embed(moved) != embed(x)).any(-1)[0]
    assert changed.tolist() == [[False] * 3, [True, False, False]]


def test_unknown_convolution_is_named():
    with pytest.raises(ValueError, match="Linear"):
        spatial_dims(nn.Linear)
