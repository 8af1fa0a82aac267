"""Patches, padding and cropping of grids."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from nnunetv2_mamba.building_blocks.grid import crop, fold, pad_to_multiple, partition

GRIDS = st.lists(st.integers(1, 3), min_size=2, max_size=3)


@given(grid=GRIDS, data=st.data())
def test_fold_undoes_partition(grid, data):
    patch = data.draw(st.lists(st.integers(1, 4), min_size=len(grid), max_size=len(grid)))
    spatial = [cells * size for cells, size in zip(grid, patch, strict=True)]
    x = torch.randn(2, 3, *spatial)
    assert torch.equal(fold(partition([x], patch), patch, spatial), x)


def test_partition_rows_are_patches():
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert partition([x], (2, 2))[0, :, :, 0].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]


def test_partition_puts_channels_side_by_side():
    x, y = torch.randn(2, 3, 4, 6), torch.randn(2, 1, 4, 6)
    assert torch.equal(partition([x, y], (2, 3)), partition([torch.cat([x, y], 1)], (2, 3)))


@given(spatial=GRIDS, multiple=st.integers(1, 5))
def test_crop_undoes_padding_by_the_last_value(spatial, multiple):
    x = torch.randn(1, 2, *spatial)
    padded = pad_to_multiple(x, [multiple] * len(spatial))
    assert all(size % multiple == 0 for size in padded.shape[2:])
    assert torch.equal(crop(padded, spatial), x)
    assert torch.equal(padded.flatten(2)[..., -1], x.flatten(2)[..., -1])
