"""The Triton kernels on a CUDA device: against float64, bit by bit against themselves, compiled, under autocast."""

import math

import pytest
import torch

from nnunetv2_mamba.ops import cross_selective_scan, selective_scan
from nnunetv2_mamba.ops.scan.registry import REGISTRY

# The GPU's 2**x is good to 2**-22, and with steps around 0.02 some fifty decays make up a state.
RATIO = 2e-5

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no CUDA device"),
]


@pytest.fixture
def inputs():
    """Arguments of `cross_selective_scan` as SS2D makes them: channels last, steps around 0.02, A = -(1..N)."""
    generator = torch.Generator("cuda").manual_seed(3)

    def draw(grid, batch=1, channels=64, d_state=16, dtype=torch.float32, channels_last=True):
        directions = 2 * len(grid)

        def normal(*shape):
            return torch.randn(shape, generator=generator, device="cuda")

        def moved(*shape):
            *rest, width = shape
            if not channels_last:
                return normal(*rest, width, *grid).to(dtype)
            return normal(*rest, *grid, width).movedim(-1, len(rest)).to(dtype)

        rates = torch.arange(1.0, d_state + 1, device="cuda")
        return {
            "u": moved(batch, channels),
            "delta": moved(batch, directions, channels),
            "A": -rates.expand(directions, channels, d_state).clone(),
            "B": moved(batch, directions, d_state),
            "C": moved(batch, directions, d_state),
            "D": normal(directions, channels),
            "delta_bias": normal(directions, channels) - 4,
        }

    return draw


def _results(inputs, backend, dtype=None):
    """Output and all gradients, the truth from the chunked backend in float64."""
    leaves = {name: t.detach().to(dtype or t.dtype).requires_grad_() for name, t in inputs.items()}
    y = cross_selective_scan(**leaves, delta_softplus=True, backend=backend)
    weights = torch.linspace(-1, 1, y.numel(), device="cuda", dtype=torch.float64).view_as(y)
    found = torch.autograd.grad(y, list(leaves.values()), weights.to(y.dtype))
    return {"y": y.detach(), **{f"d{name}": g for name, g in zip(leaves, found, strict=True)}}


@pytest.mark.parametrize(
    "case",
    [
        {"grid": (64, 64), "batch": 4, "channels": 192},
        {"grid": (7, 9), "batch": 2, "channels": 1536},
        {"grid": (13, 11, 5), "channels": 40, "d_state": 5},
        {"grid": (33,), "channels": 100, "d_state": 256},
        {"grid": (128, 128), "channels": 32, "d_state": 4},
        {"grid": (31, 33), "channels": 96, "channels_last": False},
        {"grid": (1, 1), "channels": 1, "d_state": 1},
    ],
    ids=str,
)
def test_matches_float64(inputs, assert_close, case):
    drawn = inputs(**case)
    expected = _results(drawn, "torch", torch.float64)
    for name, found in _results(drawn, "triton").items():
        assert_close(name, expected[name], found, RATIO)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_reads_half_precision(inputs, assert_close, dtype):
    drawn = inputs((32, 32), channels=96, dtype=dtype)
    expected = _results(drawn, "torch", torch.float64)
    for name, found in _results(drawn, "triton").items():
        assert found.dtype == (drawn["u"] if name == "y" else drawn[name[1:]]).dtype
        assert_close(name, expected[name], found, 2 * torch.finfo(dtype).eps)


def test_a_gate_is_part_of_it(assert_close):
    generator = torch.Generator("cuda").manual_seed(4)

    def draw(*shape):
        return torch.randn(shape, generator=generator, device="cuda")

    drawn = [
        draw(2, 70, 300), draw(2, 70, 300), -draw(70, 16).exp(), draw(2, 16, 300), draw(2, 16, 300), draw(70),
        draw(2, 70, 300), draw(70),
    ]  # fmt: skip
    results = []
    for backend, dtype in (("torch", torch.float64), ("triton", torch.float32)):
        leaves = [t.to(dtype).requires_grad_() for t in drawn]
        y = selective_scan(*leaves, delta_softplus=True, backend=backend)
        results.append([y.detach(), *torch.autograd.grad(y.pow(2).sum(), leaves)])
    for name, expected, found in zip(("y", "u", "delta", "A", "B", "C", "D", "z", "bias"), *results, strict=True):
        assert_close(name, expected, found, RATIO)


def test_gives_the_same_bits_every_time(inputs):
    drawn = inputs((96, 96), channels=192, batch=2)
    first = _results(drawn, "triton")
    for _ in range(3):
        for name, again in _results(drawn, "triton").items():
            assert torch.equal(first[name], again), name


def test_never_waits_for_the_device(inputs):
    drawn = inputs((16, 16))
    _results(drawn, "triton")
    torch.cuda.set_sync_debug_mode("error")
    try:
        _results(drawn, "triton")
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_keeps_no_tensor_of_all_states(inputs):
    """Beside what comes in and goes out: states of every 32nd visit, and y and du once per direction."""
    drawn = inputs((256, 256), channels=64, d_state=64)
    states = 4 * drawn["delta"].numel() * 64
    _results(drawn, "triton")
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    _results(drawn, "triton")
    assert torch.cuda.max_memory_allocated() - before < states / 4


@pytest.mark.compile
@pytest.mark.filterwarnings("ignore")
def test_compiles_without_a_graph_break_under_autocast(inputs, assert_close):
    drawn = inputs((24, 24), channels=96)

    def loss(**leaves):
        with torch.autocast("cuda", dtype=torch.float16):
            return cross_selective_scan(**leaves, delta_softplus=True, backend="triton").pow(2).sum()

    torch._dynamo.reset()
    results = []
    for function in (loss, torch.compile(loss, fullgraph=True)):
        leaves = {name: t.detach().requires_grad_() for name, t in drawn.items()}
        value = function(**leaves)
        results.append([value, *torch.autograd.grad(value, list(leaves.values()))])
    for name, eager, compiled in zip(["loss", *drawn], *results, strict=True):
        assert_close(name, eager, compiled, 1e-5)


def test_takes_more_samples_than_a_grid_has_rows():
    leaves = [torch.ones(shape, device="cuda", requires_grad=True) for shape in ((70_000, 1, 4), (70_000, 1, 4))]
    A, projection = -torch.ones(1, 1, device="cuda"), torch.ones(70_000, 1, 4, device="cuda")
    y = selective_scan(*leaves, A, projection, projection, backend="triton")
    y.sum().backward()
    for tensor in (y, *(leaf.grad for leaf in leaves)):
        assert torch.equal(tensor, tensor[:1].expand_as(tensor))
    assert y[0, 0, 1].item() == pytest.approx(1 + math.exp(-1))


def test_takes_an_empty_batch(inputs):
    results = _results(inputs((8, 8), batch=0), "triton")
    assert results["y"].shape == (0, 64, 8, 8)
    assert all(not results[name].any() for name in ("dA", "dD", "ddelta_bias"))


def test_passes_its_self_check():
    assert REGISTRY.backends["triton"].self_check("cuda") < RATIO
