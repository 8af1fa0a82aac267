"""The N-D SS2D against what its algebra promises: counts, merging, symmetries, start."""

import math

import pytest
import torch
from torch import nn

from nnunetv2_mamba.building_blocks import SSND

CONV_OPS = [pytest.param(nn.Conv2d, id="2d"), pytest.param(nn.Conv3d, id="3d")]
GRIDS = {nn.Conv2d: (4, 5), nn.Conv3d: (3, 4, 2)}
CUBES = {nn.Conv2d: (4, 4), nn.Conv3d: (3, 3, 3)}
DIRECTIONAL = ("x_proj_weight", "dt_projs_weight", "dt_projs_bias", "A_logs", "Ds")


def make_mixer(conv_op: type[nn.Module], ties: list[int] | None = None) -> SSND:
    """A mixer in double precision; with ties, direction k has the parameters of direction ties[k]."""
    torch.manual_seed(0)
    mixer = SSND(8, conv_op, d_state=4).double()
    for name in DIRECTIONAL:
        parameter = getattr(mixer, name).data
        parameter.add_(torch.randn_like(parameter), alpha=0.1)
        if ties is not None:
            per_direction = parameter.view(mixer.directions, -1)
            per_direction.copy_(per_direction[ties].clone())
    return mixer


def core_input(conv_op: type[nn.Module], shapes: dict = CUBES) -> torch.Tensor:
    return torch.randn(2, *shapes[conv_op], 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def flip_all(x: torch.Tensor) -> torch.Tensor:
    return x.flip(tuple(range(1, x.ndim - 1)))


def rotate_axes(x: torch.Tensor) -> torch.Tensor:
    """Cyclic permutation of the spatial axes; the transpose in 2-D."""
    return x.permute(0, x.ndim - 2, *range(1, x.ndim - 2), x.ndim - 1)


def commutes(mixer: SSND, x: torch.Tensor, transform) -> bool:
    return torch.allclose(mixer.mix(transform(x)), transform(mixer.mix(x)), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("conv_op", CONV_OPS)
def test_zero_input_projection_leaves_the_skip_of_every_direction(conv_op):
    mixer = make_mixer(conv_op)
    mixer.x_proj_weight.data[:, mixer.dt_rank : mixer.dt_rank + mixer.d_state] = 0
    mixer.Ds.data.fill_(1)
    u = core_input(conv_op, GRIDS)
    torch.testing.assert_close(mixer.mix(u), mixer.directions * u)


@pytest.mark.parametrize("conv_op", CONV_OPS)
def test_each_direction_sees_only_what_lies_behind_it(conv_op):
    """A first token reaches everything, a last token only itself, along the forward directions alone."""
    mixer = make_mixer(conv_op)
    half = mixer.directions // 2
    # y of the walks backwards vanishes with their read-out C and skip D.
    mixer.x_proj_weight.data[half:, mixer.dt_rank + mixer.d_state :] = 0
    mixer.Ds.data.view(mixer.directions, -1)[half:] = 0
    u = core_input(conv_op, GRIDS)
    last = u.clone()
    last.flatten(1, -2)[:, -1] += 1
    changed = (mixer.mix(last) - mixer.mix(u)).abs().amax(-1).flatten(1)
    assert (changed[:, :-1] < 1e-12).all()
    assert (changed[:, -1] > 1e-3).all()
    first = u.clone()
    first.flatten(1, -2)[:, 0] += 1
    assert ((mixer.mix(first) - mixer.mix(u)).abs().amax(-1) > 1e-12).all()


@pytest.mark.parametrize("conv_op", CONV_OPS)
def test_untied_directions_commute_with_nothing(conv_op):
    mixer, x = make_mixer(conv_op), core_input(conv_op)
    assert not commutes(mixer, x, flip_all)
    assert not commutes(mixer, x, rotate_axes)


@pytest.mark.parametrize("conv_op", CONV_OPS)
def test_forward_tied_to_backward_commutes_with_reversal_only(conv_op):
    ndim = len(CUBES[conv_op])
    mixer, x = make_mixer(conv_op, ties=[k % ndim for k in range(2 * ndim)]), core_input(conv_op)
    assert commutes(mixer, x, flip_all)
    assert not commutes(mixer, x, rotate_axes)


@pytest.mark.parametrize("conv_op", CONV_OPS)
def test_tied_axis_orders_commute_with_axis_rotation_only(conv_op):
    ndim = len(CUBES[conv_op])
    mixer, x = make_mixer(conv_op, ties=[0] * ndim + [ndim] * ndim), core_input(conv_op)
    assert commutes(mixer, x, rotate_axes)
    assert not commutes(mixer, x, flip_all)


@pytest.mark.parametrize("conv_op", CONV_OPS)
def test_all_tied_commutes_with_both_but_not_with_one_flip(conv_op):
    ndim = len(CUBES[conv_op])
    mixer, x = make_mixer(conv_op, ties=[0] * 2 * ndim), core_input(conv_op)
    assert commutes(mixer, x, flip_all)
    assert commutes(mixer, x, rotate_axes)
    assert not commutes(mixer, x, lambda t: t.flip(1))


def test_2d_directions_are_those_of_vmamba():
    """k0 row-major, k1 column-major, k2 and k3 their reverses: seen from which tokens a token reaches."""
    row_major = torch.arange(12).reshape(3, 4)
    column_major = torch.arange(12).reshape(4, 3).t()
    ranks = [row_major, column_major, 11 - row_major, 11 - column_major]
    u = torch.randn(1, 3, 4, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for direction, rank in enumerate(ranks):
        mixer = make_mixer(nn.Conv2d)
        others = [k for k in range(4) if k != direction]
        mixer.x_proj_weight.data[others, mixer.dt_rank + mixer.d_state :] = 0
        mixer.Ds.data.view(4, -1)[others] = 0
        moved = u.clone()
        moved[:, 1, 2] += torch.linspace(-1, 1, 16, dtype=torch.float64)
        changed = (mixer.mix(moved) - mixer.mix(u))[0].abs().amax(-1) > 1e-13
        assert torch.equal(changed, rank >= rank[1, 2])


@pytest.mark.parametrize("conv_op", CONV_OPS)
def test_start_is_mambas(conv_op):
    torch.manual_seed(0)
    mixer = SSND(96, conv_op).requires_grad_(False)
    directions = 2 * len(GRIDS[conv_op])
    assert mixer.x_proj_weight.shape == (directions, 6 + 32, 192)
    assert mixer.dt_projs_weight.shape == (directions, 192, 6)
    assert mixer.dt_projs_bias.shape == (directions, 192)
    assert mixer.A_logs.shape == (directions * 192, 16)
    assert mixer.Ds.shape == (directions * 192,)
    dt = nn.functional.softplus(mixer.dt_projs_bias)
    assert dt.min() >= 1e-3 * (1 - 1e-4)
    assert dt.max() <= 0.1 * (1 + 1e-4)
    assert dt.log().std() == pytest.approx(math.log(100) / math.sqrt(12), rel=0.1)
    torch.testing.assert_close(mixer.A_logs.exp(), torch.arange(1.0, 17).expand(directions * 192, 16))
    assert (mixer.Ds == 1).all()
    assert 0.9 < mixer.x_proj_weight.abs().max() * math.sqrt(192) <= 1
    assert 0.9 < mixer.dt_projs_weight.abs().max() * math.sqrt(6) <= 1


@pytest.mark.parametrize("conv_op", CONV_OPS)
@pytest.mark.parametrize("depthwise_conv", [True, False])
def test_gradients_in_double_precision(conv_op, depthwise_conv):
    torch.manual_seed(0)
    mixer = SSND(2, conv_op, d_state=2, depthwise_conv=depthwise_conv).double()
    x = torch.randn(1, *(2,) * len(GRIDS[conv_op]), 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(mixer, (x,))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mixed_precision_stays_finite_and_close(dtype):
    torch.manual_seed(0)
    mixer = SSND(16)
    x = torch.randn(2, 6, 5, 16)
    with torch.autocast("cpu", dtype):
        y, huge = mixer(x), mixer(1e3 * x)
    assert huge.isfinite().all()
    assert (y.float() - mixer(x)).norm() < 0.05 * mixer(x).norm()
