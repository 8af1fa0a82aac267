"""The tensor attention of one scale against the equations."""

from functools import partial

import pytest
import torch

from nnunetv2_mamba.building_blocks.grid import fold, partition
from nnunetv2_mamba.building_blocks.tensor_attention import TensorAttention


def make_attention(patch: int, num_classes: int = 3) -> TensorAttention:
    torch.manual_seed(0)
    attention = TensorAttention(patch, num_classes, image_channels=4, edge_channels=5).double()
    attention.norm.running_mean.normal_()
    return attention.eval()


def features(*spatial: int, num_classes: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return tuple(torch.randn(2, c, *spatial, generator=generator, dtype=torch.float64) for c in (4, num_classes, 5))


def written_equations(attention: TensorAttention, *features: torch.Tensor, patch: list[int]) -> torch.Tensor:
    """Eqs. 1 to 4 with means, in index notation and with every intermediate."""
    spatial = features[0].shape[2:]
    P_O, P_I, P_E = (partition([x], patch) for x in features)
    pairs = P_O.shape[-1] * P_E.shape[-1]
    A_B = torch.einsum("bpjc,bpjk,bpje->bpkce", P_O, P_I, P_E) / P_O.shape[2]
    rows = torch.cat((P_O, P_I, P_E), -1)
    hidden = attention.norm(attention.fc1(rows).flatten(0, 2)).relu()
    W_D = attention.fc2(hidden).sigmoid().reshape(*rows.shape[:3], P_O.shape[-1], P_E.shape[-1])
    return fold(torch.einsum("bpkce,bpjce->bpjk", A_B, W_D) / pairs, patch, spatial)


@pytest.mark.parametrize("num_classes", [1, 3, 5, 14])
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize(("patch", "spatial"), [(2, (4, 6)), (4, (8, 8)), (4, (4, 8, 4))], ids=str)
def test_equals_the_written_equations(num_classes, training, patch, spatial):
    """Whichever outer product is the smaller one; values, gradients, and what batch norm remembers."""
    results = []
    for function in (TensorAttention.forward, partial(written_equations, patch=[patch] * len(spatial))):
        attention = make_attention(patch, num_classes).train(training)
        inputs = [x.requires_grad_() for x in features(*spatial, num_classes=num_classes)]
        attended = function(attention, *inputs)
        attended.square().sum().backward()
        gradients = [tensor.grad for tensor in (*inputs, *attention.parameters())]
        results.append([attended.detach(), *gradients, *attention.buffers()])
    for ours, written in zip(*results, strict=True):
        torch.testing.assert_close(ours, written)


def test_single_precision_is_within_rounding():
    exact, attention = make_attention(4), make_attention(4).float()
    image, classes, edges = features(16, 12)
    expected = written_equations(exact, image, classes, edges, patch=[4, 4])
    rounded = attention(image.float(), classes.float(), edges.float())
    assert (rounded - expected).norm() < 1e-6 * expected.norm()


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
