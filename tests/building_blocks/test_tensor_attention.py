"""The tensor attention of one scale against the equations."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nnunetv2_mamba.building_blocks.tensor_attention import TensorAttention, crop, fold, pad_to_multiple, partition

GRIDS = st.lists(st.integers(1, 3), min_size=2, max_size=3)


def make_attention(patch: int, num_classes: int = 3) -> TensorAttention:
    torch.manual_seed(0)
    attention = TensorAttention(patch, num_classes, image_channels=4, edge_channels=5).double()
    attention.norm.running_mean.normal_()
    return attention.eval()


def features(*spatial: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return tuple(torch.randn(2, c, *spatial, generator=generator, dtype=torch.float64) for c in (4, 3, 5))


@given(grid=GRIDS, data=st.data())
def test_fold_undoes_partition(grid, data):
    patch = data.draw(st.lists(st.integers(1, 4), min_size=len(grid), max_size=len(grid)))
    spatial = [cells * size for cells, size in zip(grid, patch, strict=True)]
    x = torch.randn(2, 3, *spatial)
    assert torch.equal(fold(partition(x, patch), patch, spatial), x)


def test_partition_rows_are_patches():
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert partition(x, (2, 2))[0, :, :, 0].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]


@given(spatial=GRIDS, multiple=st.integers(1, 5))
def test_crop_undoes_padding_by_the_last_value(spatial, multiple):
    x = torch.randn(1, 2, *spatial)
    padded = pad_to_multiple(x, [multiple] * len(spatial))
    assert all(size % multiple == 0 for size in padded.shape[2:])
    assert torch.equal(crop(padded, spatial), x)
    assert torch.equal(padded.flatten(2)[..., -1], x.flatten(2)[..., -1])


def test_equals_the_written_equations():
    attention = make_attention(patch=2)
    image, classes, edges = features(4, 6)
    P_O, P_I, P_E = (partition(x, (2, 2)) for x in (image, classes, edges))
    A_B = torch.einsum("bpjc,bpjk,bpje->bpkce", P_O, P_I, P_E) / 4
    rows = torch.cat((P_O, P_I, P_E), -1)
    hidden = attention.fc1(rows).flatten(0, 2)
    W_D = attention.fc2(attention.norm(hidden).relu()).sigmoid().reshape(*rows.shape[:3], 4, 5)
    expected = torch.einsum("bpkce,bpjce->bpjk", A_B, W_D) / 20
    torch.testing.assert_close(attention(image, classes, edges), fold(expected, (2, 2), (4, 6)))


def test_a_pixel_acts_only_within_its_patch():
    attention = make_attention(patch=4)
    image, classes, edges = features(16, 16)
    moved = image.clone()
    moved[:, :, 10, 10] += 1
    changed = (attention(moved, classes, edges) - attention(image, classes, edges)).abs().amax((0, 1)) > 1e-14
    inside = torch.zeros(16, 16, dtype=torch.bool)
    inside[8:12, 8:12] = True
    assert torch.equal(changed, inside)


@pytest.mark.parametrize("spatial", [(16, 16), (12, 20), (3, 8, 5)], ids=str)
def test_constant_features_do_not_tell_the_scale(spatial):
    constant = [x.mean(tuple(range(2, x.ndim)), keepdim=True).expand_as(x) for x in features(*spatial)]
    weights = make_attention(2).state_dict()
    maps = []
    for patch in (2, 4, 8):
        attention = make_attention(patch)
        attention.load_state_dict(weights)
        maps.append(attention(*constant))
    torch.testing.assert_close(maps[0], maps[1])
    torch.testing.assert_close(maps[0], maps[2])


def test_neutral_weights_give_the_mean_of_each_patch():
    attention = make_attention(patch=4)
    attention.fc2.weight.data.zero_()
    attention.fc2.bias.data.fill_(50)
    image, classes, edges = features(8, 12)
    ones = torch.ones_like(image), classes, torch.ones_like(edges)
    means = torch.nn.functional.avg_pool2d(classes, 4)
    expected = means.repeat_interleave(4, 2).repeat_interleave(4, 3)
    torch.testing.assert_close(attention(*ones), expected)


@pytest.mark.parametrize("spatial", [(1, 1), (1, 7), (1, 1, 1)], ids=str)
def test_trains_on_grids_smaller_than_its_patch(spatial):
    attention = make_attention(patch=8).train()
    maps = attention(*(x[:1] for x in features(*spatial)))
    assert maps.shape == (1, 3, *spatial)
    maps.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in attention.parameters())
