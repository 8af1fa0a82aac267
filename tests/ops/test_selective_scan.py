"""Every backend of the one-directional scan against the reference: output and all gradients."""

import itertools

import pytest
import torch

from nnunetv2_mamba.ops import selective_scan

FAST = ["numba", "torch"]
RATIO = 1e-5


def _inputs(draw, batch, channels, length, d_state, groups, dtype=torch.float32):
    return {
        "u": draw(batch, channels, length, dtype=dtype),
        "delta": draw(batch, channels, length, dtype=dtype),
        "A": -draw(channels, d_state, dtype=dtype).exp(),
        "B": draw(batch, groups, d_state, length, dtype=dtype),
        "C": draw(batch, groups, d_state, length, dtype=dtype),
        "D": draw(channels, dtype=dtype),
        "z": draw(batch, channels, length, dtype=dtype),
        "delta_bias": draw(channels, dtype=dtype),
    }


def _run(inputs, backend, delta_softplus=True, dtype=None):
    leaves = {name: t.to(dtype or t.dtype).detach().requires_grad_() for name, t in inputs.items()}
    y = selective_scan(**leaves, delta_softplus=delta_softplus, backend=backend)
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)
    gradients = torch.autograd.grad((y * weights).sum(), list(leaves.values()))
    return {"y": y.detach(), **{f"d{name}": g for name, g in zip(leaves, gradients, strict=True)}}


def _compare(assert_close, inputs, backend, delta_softplus=True, ratio=RATIO):
    expected = _run(inputs, "reference", delta_softplus, torch.float64)
    found = _run(inputs, backend, delta_softplus)
    for name, tensor in expected.items():
        assert_close(name, tensor, found[name], ratio)


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("d_state", [1, 16, 64, 256])
@pytest.mark.parametrize("length", [1, 31, 32, 77])
def test_matches_reference(draw, assert_close, backend, groups, d_state, length):
    _compare(assert_close, _inputs(draw, 2, 12, length, d_state, groups), backend)


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize(
    ("has_z", "has_D", "has_bias", "softplus"),
    list(itertools.product([True, False], repeat=4)),
    ids=lambda present: "yes" if present else "no",
)
def test_matches_reference_without_options(draw, assert_close, backend, has_z, has_D, has_bias, softplus):
    inputs = _inputs(draw, 2, 6, 37, 5, 1)
    inputs["delta"] = inputs["delta"].abs()
    for name, present in (("z", has_z), ("D", has_D), ("delta_bias", has_bias)):
        if not present:
            del inputs[name]
        elif name == "delta_bias":
            inputs[name] = inputs[name].abs()
    _compare(assert_close, inputs, backend, softplus)


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("channels", [1, 15, 16, 17, 100])
def test_matches_reference_for_any_width(draw, assert_close, backend, channels):
    _compare(assert_close, _inputs(draw, 3, channels, 40, 4, 1), backend)


@pytest.mark.parametrize("backend", FAST)
def test_groups_need_not_fill_a_vector(draw, assert_close, backend):
    _compare(assert_close, _inputs(draw, 2, 60, 40, 4, 3), backend)


@pytest.mark.parametrize("backend", FAST)
def test_ungrouped_projections(draw, assert_close, backend):
    inputs = _inputs(draw, 2, 6, 9, 3, 1)
    inputs["B"], inputs["C"] = inputs["B"].squeeze(1), inputs["C"].squeeze(1)
    _compare(assert_close, inputs, backend)


@pytest.mark.parametrize("backend", ["reference", *FAST])
def test_is_finite_at_the_extremes(draw, backend):
    inputs = _inputs(draw, 1, 20, 70, 16, 1)
    inputs["delta"] = torch.linspace(0, 10, 70).expand(1, 20, 70)
    inputs["A"] = -torch.linspace(1e-3, 256, 16).expand(20, 16)
    inputs["delta_bias"] = torch.zeros(20)
    for name, tensor in _run(inputs, backend, delta_softplus=False).items():
        assert tensor.isfinite().all(), name


@pytest.mark.parametrize("backend", FAST)
def test_matches_reference_at_the_extremes(draw, assert_close, backend):
    inputs = _inputs(draw, 1, 20, 70, 16, 1)
    inputs["delta"] = torch.linspace(1e-4, 10, 70).expand(1, 20, 70)
    inputs["A"] = -torch.linspace(1e-3, 256, 16).expand(20, 16)
    inputs["delta_bias"] = torch.zeros(20)
    _compare(assert_close, inputs, backend, delta_softplus=False, ratio=1e-4)


def test_torch_backend_in_double_precision(draw, assert_close):
    inputs = _inputs(draw, 2, 8, 45, 6, 4, torch.float64)
    expected, found = _run(inputs, "reference"), _run(inputs, "torch")
    for name, tensor in expected.items():
        assert_close(name, tensor, found[name], 1e-10)


@pytest.mark.parametrize("backend", ["reference", "torch"])
def test_gradcheck(draw, backend):
    inputs = [t.requires_grad_() for t in _inputs(draw, 1, 3, 5, 2, 1, torch.float64).values()]
    assert torch.autograd.gradcheck(lambda *t: selective_scan(*t, True, backend=backend), inputs)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_computes_in_float32_and_returns_the_dtype_of_u(draw, dtype):
    inputs = {name: t.to(dtype) for name, t in _inputs(draw, 1, 4, 200, 8, 1).items() if name != "z"}
    y = selective_scan(**inputs, delta_softplus=True)
    precise = selective_scan(**{name: t.float() for name, t in inputs.items()}, delta_softplus=True)
    assert y.dtype == dtype
    assert torch.equal(y, precise.to(dtype))


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_does_not_reach_the_scan(draw, backend, dtype):
    inputs = _inputs(draw, 1, 4, 50, 8, 1)
    expected = _run(inputs, backend)
    with torch.autocast("cpu", dtype):
        found = _run(inputs, backend)
    for name, tensor in expected.items():
        assert torch.equal(tensor, found[name]), name


def test_a_nan_is_not_hidden(draw):
    inputs = _inputs(draw, 1, 4, 50, 8, 1)
    inputs["delta"][0, 1, 20] = float("nan")
    y = selective_scan(**inputs, delta_softplus=True, backend="numba")
    assert y[0, 1, 20:].isnan().all()
    assert y[0, 1, :20].isfinite().all()
    assert y[0, [0, 2, 3]].isfinite().all()


def test_what_is_saved_for_the_backward_pass_is_a_tenth_of_all_states(draw):
    batch, channels, length, d_state = 2, 64, 512, 16
    inputs = {name: t.requires_grad_() for name, t in _inputs(draw, batch, channels, length, d_state, 1).items()}
    del inputs["z"]
    given = {t.data_ptr() for t in inputs.values()}
    saved = []

    def keep(tensor):
        if tensor.data_ptr() not in given:
            saved.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        selective_scan(**inputs, delta_softplus=True, backend="numba")
    assert 0 < sum(saved) <= batch * channels * length * d_state / 10


def test_threads_change_nothing_but_rounding(draw, assert_close):
    inputs = _inputs(draw, 2, 200, 70, 8, 1)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            results.append((_run(inputs, "numba"), _run(inputs, "numba")))
    finally:
        torch.set_num_threads(before)
    for first, second in results:
        for name, tensor in first.items():
            assert torch.equal(tensor, second[name]), f"{name} differs between two equal runs"
    for name, tensor in results[0][0].items():
        assert_close(name, tensor, results[1][0][name], 1e-6)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("delta", (1, 4, 8)), ("A", (5, 3)), ("B", (1, 1, 2, 9)), ("D", (3,)), ("delta_bias", (1,))],
)
def test_wrong_shapes_are_named(draw, name, shape):
    inputs = _inputs(draw, 1, 4, 9, 3, 1)
    inputs[name] = draw(*shape)
    with pytest.raises(ValueError, match="has shape"):
        selective_scan(**inputs)


def test_what_no_backend_can_take_is_refused_in_a_sentence(draw):
    inputs = _inputs(draw, 1, 4, 9, 3, 1)
    with pytest.raises(ValueError, match="lie on cpu and meta"):
        selective_scan(**inputs | {"B": inputs["B"].to("meta")})
    with pytest.raises(ValueError, match="complex64"):
        selective_scan(**inputs | {"A": inputs["A"].to(torch.complex64)})
    with pytest.raises(ValueError, match="int64"):
        selective_scan(**inputs | {"u": inputs["u"].long()})
    with pytest.raises(ValueError, match="0 groups"):
        selective_scan(**inputs | {"B": inputs["B"][:, :0], "C": inputs["C"][:, :0]})
    with pytest.raises(ValueError, match="at least one position"):
        selective_scan(**_inputs(draw, 1, 4, 0, 3, 1))


def test_shapes_alone_can_be_asked_for(draw):
    inputs = {name: tensor.to("meta") for name, tensor in _inputs(draw, 1, 4, 9, 3, 1).items()}
    assert selective_scan(**inputs, delta_softplus=True).shape == (1, 4, 9)


def test_too_many_states_are_refused(draw):
    with pytest.raises(ValueError, match="257"):
        selective_scan(**_inputs(draw, 1, 1, 2, 257, 1))
