"""The short causal filter against its definition, term by term."""

import sys
import types

import pytest
import torch

from nnunetv2_mamba.ops import causal_conv1d
from nnunetv2_mamba.ops.backends import BackendRegistry, Call
from nnunetv2_mamba.ops.convolution.backends.causal_conv1d import PackageConvolution
from nnunetv2_mamba.ops.convolution.backends.numba import STRETCH, NumbaConvolution
from nnunetv2_mamba.ops.convolution.library import opaque_conv1d
from nnunetv2_mamba.ops.convolution.registry import REGISTRY


def _by_definition(x, weight, bias):
    width = weight.shape[1]
    terms = []
    for t in range(x.shape[-1]):
        taps = [weight[:, w] * x[:, :, t - width + 1 + w] for w in range(width) if t - width + 1 + w >= 0]
        terms.append(sum(taps))
    y = torch.stack(terms, -1)
    return y if bias is None else y + bias[:, None]


@pytest.mark.parametrize("length", [1, 2, 7, 33])
@pytest.mark.parametrize("width", [1, 2, 4])
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("activation", [None, "silu", "swish"])
def test_matches_the_definition(draw, assert_close, length, width, has_bias, activation):
    x, weight = draw(2, 3, length), draw(3, width)
    bias = draw(3) if has_bias else None
    expected = _by_definition(x, weight, bias)
    if activation:
        expected = torch.nn.functional.silu(expected)
    assert_close("y", expected, causal_conv1d(x, weight, bias, activation), 1e-6)


def test_gradcheck(draw):
    inputs = [draw(*shape, dtype=torch.float64).requires_grad_() for shape in ((1, 2, 5), (2, 3), (2,))]
    assert torch.autograd.gradcheck(lambda *t: causal_conv1d(*t, "silu"), inputs)


def both_passes(backend, x, weight, bias, activation, dy):
    leaves = [tensor.detach().requires_grad_() for tensor in (x, weight, bias) if tensor is not None]
    y = causal_conv1d(*leaves, activation=activation, backend=backend)
    return [y, *torch.autograd.grad(y, leaves, dy)]


# Shorter than the filter; odd; more rows than a thread takes at a time; widths that fill no vector.
@pytest.mark.parametrize(("channels", "length"), [(16, 1), (16, 3), (40, 67), (STRETCH // 64, 150), (3, 20)])
@pytest.mark.parametrize("width", [1, 2, 4, 7])
@pytest.mark.parametrize(("has_bias", "activation"), [(True, "silu"), (False, None)], ids=["silu", "bare"])
def test_numba_gives_the_numbers_of_torch(draw, assert_close, channels, length, width, has_bias, activation):
    x, dy = (draw(2, length, channels).transpose(1, 2) for _ in range(2))
    inputs = x, draw(channels, width), draw(channels) if has_bias else None, activation, dy
    names = ("y", "dx", "dweight", "dbias")
    for name, expected, found in zip(names, both_passes("torch", *inputs), both_passes("numba", *inputs), strict=False):
        assert_close(name, expected, found, 1e-5)


@pytest.mark.parametrize("channels_last", [True, False])
def test_numba_takes_a_slice_and_any_gradient(draw, assert_close, channels_last):
    """The half of a projection, or rows along the time; and a gradient in the other layout."""
    wide, other = (2, 30, 64), (2, 32, 30)
    x = draw(*wide)[..., 16:48].transpose(1, 2) if channels_last else draw(*other)
    dy = draw(*other) if channels_last else draw(*wide)[..., :32].transpose(1, 2)
    inputs = x, draw(32, 4), draw(32), "silu", dy
    for expected, found in zip(both_passes("torch", *inputs), both_passes("numba", *inputs), strict=True):
        assert_close("value or gradient", expected, found, 1e-5)


def test_numba_gives_the_same_bits_with_any_threads(draw):
    x, dy = (draw(2, 9000, 64).transpose(1, 2) for _ in range(2))
    inputs = x, draw(64, 4), draw(64), "silu", dy
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            results.append(both_passes("numba", *inputs))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, three) for one, three in zip(*results, strict=True))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_numba_rounds_once_to_half_precision(draw, dtype):
    x, weight, bias = draw(1, 40, 16).transpose(1, 2).to(dtype), draw(16, 4).to(dtype), draw(16).to(dtype)
    expected = causal_conv1d(x.float(), weight.float(), bias.float(), "silu", backend="numba").to(dtype)
    assert torch.equal(causal_conv1d(x, weight, bias, "silu", backend="numba"), expected)


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_autocast_changes_nothing(draw, backend):
    x, weight, bias = draw(1, 40, 16).transpose(1, 2), draw(16, 4), draw(16)
    expected = causal_conv1d(x, weight, bias, "silu", backend=backend)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(causal_conv1d(x, weight, bias, "silu", backend=backend), expected)


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_the_result_has_the_dtype_of_x(draw, backend):
    x, weight = draw(1, 16, 40), draw(16, 4)
    assert causal_conv1d(x.bfloat16(), weight, backend=backend).dtype == torch.bfloat16
    assert causal_conv1d(x, weight.bfloat16(), backend=backend).dtype == torch.float32


def test_layout_and_precision_decide_between_numba_and_torch(monkeypatch):
    monkeypatch.delenv("NNUNETV2_MAMBA_BACKEND", raising=False)
    assert REGISTRY.select(Call("cpu", d_state=4)) == "numba"
    assert REGISTRY.select(Call("cpu", d_state=4, channels_last=False)) == "torch"
    assert REGISTRY.select(Call("cpu", torch.float64, 4)) == "torch"


class ForgetsTheRowsBefore(NumbaConvolution):
    """Its second stretch of rows starts from zeros."""

    def forward(self, x, *rest):
        return torch.cat([super(ForgetsTheRowsBefore, self).forward(part, *rest) for part in x.split(4096, 2)], 2)


class ForgetsTheRowsBehind(NumbaConvolution):
    """The last row of its first stretch gets nothing from the row behind it."""

    def backward(self, dy, x, weight, bias, activation):
        dx, *sums = super().backward(dy, x, weight, bias, activation)
        dx[..., :4096] = super().backward(dy[..., :4096], x[..., :4096], weight, bias, activation)[0]
        return dx, *sums


class IsNotANumber(NumbaConvolution):
    """In its last gradient."""

    def backward(self, *arguments):
        *others, dbias = super().backward(*arguments)
        return *others, torch.full_like(dbias, torch.nan)


class KnowsFourTaps(NumbaConvolution):
    """And takes every filter for one of them."""

    def forward(self, x, weight, *rest):
        return super().forward(x, weight[:, -4:], *rest)


class ForgetsTheActivation(NumbaConvolution):
    """Its gradients are those of the bare filter."""

    def backward(self, dy, x, weight, bias, activation):
        return super().backward(dy, x, weight, bias, False)


@pytest.mark.parametrize(
    "wrong", [ForgetsTheRowsBefore, ForgetsTheRowsBehind, ForgetsTheActivation, IsNotANumber, KnowsFourTaps]
)
def test_a_wrong_kernel_is_refused(wrong):
    backends = [wrong(), REGISTRY.backends["torch"]]
    assert BackendRegistry("causal_conv1d", backends).select(Call("cpu", d_state=4)) == "torch"


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # opcheck looks at its own copies
def test_numba_registers_as_torch_asks(draw):
    tensors = [draw(2, 9, 16).transpose(1, 2).requires_grad_(), draw(16, 4).requires_grad_(), None]
    torch.library.opcheck(opaque_conv1d, (*tensors, True, "numba"))


def test_sees_no_future(draw):
    x, weight = draw(1, 2, 20), draw(2, 4)
    changed = x.clone()
    changed[..., 11:] += 1
    assert torch.equal(causal_conv1d(x, weight)[..., :11], causal_conv1d(changed, weight)[..., :11])


@pytest.mark.parametrize("length", [5, 64])
def test_the_length_stays(draw, length):
    assert causal_conv1d(draw(1, 2, length), draw(2, 4)).shape[-1] == length


def test_bad_input_is_named(draw):
    with pytest.raises(ValueError, match="relu"):
        causal_conv1d(draw(1, 2, 5), draw(2, 4), activation="relu")
    with pytest.raises(ValueError, match=r"\(3, 4\)"):
        causal_conv1d(draw(1, 2, 5), draw(3, 4))
    with pytest.raises(ValueError, match=r"bias \(3,\)"):
        causal_conv1d(draw(1, 2, 5), draw(2, 4), draw(3))
    with pytest.raises(ValueError, match="at least one channel and one tap"):
        causal_conv1d(draw(1, 2, 5), draw(2, 0))
    with pytest.raises(ValueError, match=r"convolution is torch\.int64"):
        causal_conv1d(torch.ones(1, 2, 5, dtype=torch.int64), draw(2, 4))
    with pytest.raises(ValueError, match="cpu and meta"):
        causal_conv1d(draw(1, 2, 5), draw(2, 4).to("meta"))


def test_the_cuda_package_is_named_with_its_extra_where_it_is_missing():
    assert "nnunetv2-mamba[cuda]" in PackageConvolution().unavailable("cuda")
    assert "cpu" in PackageConvolution().unavailable("cpu")


@pytest.fixture
def pretended_package(monkeypatch):
    """causal-conv1d on the CPU: an autograd function with explicit gradients, as the package has."""

    class Conv(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, weight, bias):
            ctx.save_for_backward(x, weight)
            return _by_definition(x, weight, bias)

        @staticmethod
        def backward(ctx, dy):
            x, weight = ctx.saved_tensors
            width, length = weight.shape[1], x.shape[-1]
            padded = torch.nn.functional.pad(x, (width - 1, 0))
            taps = torch.stack([padded[..., w : w + length] for w in range(width)], -1)
            dx = torch.zeros_like(padded)
            for w in range(width):
                dx[..., w : w + length] += dy * weight[:, w, None]
            return dx[..., width - 1 :], torch.einsum("bdl,bdlw->dw", dy, taps), dy.sum((0, 2))

    def causal_conv1d_fn(x, weight, bias=None, activation=None):
        assert activation is None
        return Conv.apply(x, weight, bias)

    class OnCpu(PackageConvolution):
        def unavailable(self, device):
            return None

        def self_check(self, device):
            return 0.0

    module = types.ModuleType("causal_conv1d")
    module.causal_conv1d_fn = causal_conv1d_fn
    monkeypatch.setitem(sys.modules, "causal_conv1d", module)
    monkeypatch.setitem(REGISTRY.backends, "causal_conv1d", OnCpu())


@pytest.mark.parametrize("has_bias", [False, True])
def test_the_package_is_called_correctly(pretended_package, draw, assert_close, has_bias):
    inputs = [draw(2, 3, 9), draw(3, 4), *([draw(3)] if has_bias else [])]
    results = []
    for backend in ("torch", "causal_conv1d"):
        leaves = [t.clone().requires_grad_() for t in inputs]
        y = causal_conv1d(*leaves, backend=backend)
        results.append([y, *torch.autograd.grad(y.pow(2).sum(), leaves)])
    for expected, found in zip(*results, strict=True):
        assert_close("causal_conv1d", expected, found, 1e-5)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # opcheck looks at its own copies
def test_the_op_is_registered_as_torch_asks(pretended_package, draw):
    tensors = [draw(2, 3, 9).requires_grad_(), draw(3, 4).requires_grad_(), draw(3).requires_grad_()]
    torch.library.opcheck(opaque_conv1d, (*tensors, False, "causal_conv1d"))


@pytest.mark.compile
@pytest.mark.filterwarnings("ignore")
def test_compiles_without_a_graph_break(draw, assert_close):
    weight = draw(2, 4)
    compiled = torch.compile(causal_conv1d, fullgraph=True, backend="aot_eager")
    # One function for all: what was taken for a constant must not be a symbol when the size or the layout changes.
    for x in (draw(1, 2, 9), draw(1, 9, 2).transpose(1, 2), draw(3, 7, 2).transpose(1, 2), draw(2, 2, 12)):
        assert_close("y", causal_conv1d(x, weight), compiled(x, weight), 1e-6)
