"""Scans over grids: directions against explicit flips and transposes, memory layouts, registration, compile."""

import pytest
import torch

from nnunetv2_mamba.ops import cross_selective_scan, selective_scan
from nnunetv2_mamba.ops.scan.library import _grid_scan
from nnunetv2_mamba.ops.scan.orders import cyclic_axis_orders, visiting_orders

FAST = ["numba", "torch"]
GRIDS = [(7,), (1, 1), (3, 5), (8, 9), (3, 4, 5)]


def _inputs(draw, grid, batch=2, channels=6, d_state=3):
    directions = 2 * len(grid)
    return {
        "u": draw(batch, channels, *grid),
        "delta": draw(batch, directions, channels, *grid),
        "A": -draw(directions, channels, d_state).exp(),
        "B": draw(batch, directions, d_state, *grid),
        "C": draw(batch, directions, d_state, *grid),
        "D": draw(directions, channels),
        "delta_bias": draw(directions, channels),
    }


def _gradients(inputs, backend, dtype=torch.float32):
    leaves = {name: t.detach().to(dtype).requires_grad_() for name, t in inputs.items()}
    y = cross_selective_scan(**leaves, delta_softplus=True, backend=backend)
    weights = torch.linspace(-1, 1, y.numel(), dtype=dtype).view_as(y)
    found = torch.autograd.grad((y * weights).sum(), list(leaves.values()))
    return {"y": y.detach(), **{f"d{name}": g for name, g in zip(leaves, found, strict=True)}}


def _by_flips(u, delta, A, B, C, D, delta_bias):
    """SS2D as published: copies of the map in each direction, scanned as sequences, put back and added."""
    turns = {0: lambda t: t, 1: lambda t: t.transpose(-1, -2)}
    total = 0
    for k in range(4):
        turn, backwards = turns[k % 2], k >= 2

        def unroll(t, turn=turn, backwards=backwards):
            sequence = turn(t).flatten(-2)
            return sequence.flip(-1) if backwards else sequence

        y = selective_scan(
            unroll(u), unroll(delta[:, k]), A[k], unroll(B[:, k]), unroll(C[:, k]), D[k], None, delta_bias[k], True,
            backend="reference",
        )  # fmt: skip
        y = y.flip(-1) if backwards else y
        total = total + turn(y.unflatten(-1, turn(u).shape[-2:]))
    return total


@pytest.mark.parametrize("backend", ["reference", *FAST])
def test_is_ss2d_by_flips_and_transposes(draw, assert_close, backend):
    inputs = _inputs(draw, (4, 7))
    expected = _by_flips(**inputs)
    assert_close("y", expected, cross_selective_scan(**inputs, delta_softplus=True, backend=backend), 1e-5)


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_matches_reference(draw, assert_close, backend, grid):
    inputs = _inputs(draw, grid)
    expected = _gradients(inputs, "reference", torch.float64)
    for name, tensor in _gradients(inputs, backend).items():
        assert_close(name, expected[name], tensor, 1e-5)


@pytest.mark.parametrize("backend", FAST)
def test_memory_layout_does_not_matter(draw, assert_close, backend):
    inputs = _inputs(draw, (6, 7), channels=20)
    expected = _gradients(inputs, backend)
    channels_last = dict(inputs)
    channels_last["u"] = inputs["u"].permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    channels_last["delta"] = inputs["delta"].permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    sliced = dict(inputs, u=torch.cat([inputs["u"]] * 2, 1)[:, :20], B=torch.cat([inputs["B"]] * 2, 2)[:, :, :3])
    for variant in (channels_last, sliced):
        for name, tensor in _gradients(variant, backend).items():
            assert_close(name, expected[name], tensor, 1e-6)


@pytest.mark.parametrize("backend", ["reference", *FAST])
def test_without_input_projection_only_the_skip_is_left(draw, backend):
    inputs = _inputs(draw, (4, 5))
    inputs["B"].zero_()
    inputs["D"].fill_(1)
    y = cross_selective_scan(**inputs, delta_softplus=True, backend=backend)
    torch.testing.assert_close(y, 4 * inputs["u"])


@pytest.mark.parametrize("backend", ["reference", *FAST])
def test_forward_walks_only(draw, assert_close, backend):
    inputs = {name: t[:, :1] if name in ("delta", "B", "C") else t for name, t in _inputs(draw, (3, 4)).items()}
    inputs.update({name: inputs[name][:1] for name in ("A", "D", "delta_bias")})
    y = cross_selective_scan(**inputs, delta_softplus=True, axis_orders=((1, 0),), backend=backend)
    sequences = {name: t.transpose(-1, -2).flatten(-2) for name, t in inputs.items() if t.ndim > 2 and name != "A"}
    expected = selective_scan(
        sequences["u"], sequences["delta"][:, 0], inputs["A"][0], sequences["B"][:, 0], sequences["C"][:, 0],
        inputs["D"][0], None, inputs["delta_bias"][0], True,
    )  # fmt: skip
    assert_close("y", expected.unflatten(-1, (4, 3)).transpose(-1, -2), y, 1e-5)


def test_each_axis_is_fastest_once():
    for ndim in (1, 2, 3, 4):
        orders = cyclic_axis_orders(ndim)
        assert sorted(order[-1] for order in orders) == list(range(ndim))
    assert cyclic_axis_orders(2) == ((0, 1), (1, 0))
    assert cyclic_axis_orders(3) == ((0, 1, 2), (2, 0, 1), (1, 2, 0))


def test_visiting_orders_are_those_of_ss2d():
    rows = torch.arange(12)
    columns = torch.arange(12).view(3, 4).t().reshape(-1)
    expected = torch.stack([rows, columns, rows.flip(0), columns.flip(0)])
    assert torch.equal(visiting_orders((3, 4), ((0, 1), (1, 0)), 4), expected)


def test_an_axis_order_must_be_a_permutation(draw):
    with pytest.raises(ValueError, match=r"\(0, 0\)"):
        cross_selective_scan(**_inputs(draw, (3, 4)), axis_orders=((0, 0), (1, 0)))
    with pytest.raises(ValueError, match="4 directions"):
        cross_selective_scan(**_inputs(draw, (3, 4)), axis_orders=((0, 1), (1, 0), (0, 1)))


@pytest.mark.parametrize("orders", [((0,), (1,)), ((0, 1, 1), (0,)), ((0, 1, 1),)])
def test_an_axis_order_must_have_all_axes(draw, orders):
    with pytest.raises(ValueError, match="not a permutation"):
        cross_selective_scan(**_inputs(draw, (3, 4)), axis_orders=orders)


def test_axis_orders_may_be_lists(draw):
    inputs = _inputs(draw, (3, 4))
    expected = cross_selective_scan(**inputs, delta_softplus=True, axis_orders=((1, 0), (0, 1)))
    for backend in ("reference", "numba"):
        found = cross_selective_scan(**inputs, delta_softplus=True, axis_orders=[[1, 0], [0, 1]], backend=backend)
        torch.testing.assert_close(found, expected)


def test_a_grid_that_does_not_match_is_named(draw):
    inputs = _inputs(draw, (3, 4))
    inputs["delta"] = inputs["delta"][..., :-1]
    with pytest.raises(ValueError, match="delta has shape"):
        cross_selective_scan(**inputs)


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # opcheck looks at its own copies
def test_the_op_is_registered_as_torch_asks(draw, backend, channels_last):
    inputs = _inputs(draw, (3, 5), channels=5)
    u, delta = inputs["u"].flatten(2), inputs["delta"].flatten(3)
    if channels_last:
        u = u.transpose(1, 2).contiguous().transpose(1, 2)
        delta = delta.transpose(2, 3).contiguous().transpose(2, 3)
    B, C = (inputs[name].unsqueeze(2).flatten(4) for name in "BC")
    tensors = [u, delta, inputs["A"], B, C, inputs["D"], inputs["delta_bias"]]
    tensors.append(torch.ones_like(u))
    leaves = [t.detach().requires_grad_() for t in tensors]
    torch.library.opcheck(_grid_scan, (*leaves, True, [3, 5], [0, 1, 1, 0], True, backend))


@pytest.mark.compile
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("backend", [None, *FAST])
def test_compiles_without_a_graph_break(draw, assert_close, backend):
    inputs = _inputs(draw, (3, 5))

    def loss(**leaves):
        return cross_selective_scan(**leaves, delta_softplus=True, backend=backend).pow(2).sum()

    torch._dynamo.reset()
    results = []
    for function in (loss, torch.compile(loss, fullgraph=True)):
        leaves = {name: t.detach().requires_grad_() for name, t in inputs.items()}
        value = function(**leaves)
        results.append([value, *torch.autograd.grad(value, list(leaves.values()))])
    for name, eager, compiled in zip(["loss", *inputs], *results, strict=True):
        assert_close(name, eager, compiled, 1e-5)
