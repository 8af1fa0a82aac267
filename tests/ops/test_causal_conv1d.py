"""The short causal filter against its definition, term by term."""

import sys
import types

import pytest
import torch

from nnunetv2_mamba.ops import causal_conv1d
from nnunetv2_mamba.ops.convolution import REGISTRY, CausalConv1dBackend, _depthwise, _package_conv1d


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


def test_the_cuda_package_is_named_with_its_extra_where_it_is_missing():
    assert "nnunetv2-mamba[cuda]" in CausalConv1dBackend().unavailable("cuda")
    assert "cpu" in CausalConv1dBackend().unavailable("cpu")


@pytest.fixture
def pretended_package(monkeypatch):
    """causal-conv1d on the CPU: an autograd function with explicit gradients, as the package has."""

    class Conv(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, weight, bias):
            ctx.save_for_backward(x, weight)
            return _depthwise(x, weight, bias, None)

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

    class OnCpu(CausalConv1dBackend):
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
    torch.library.opcheck(_package_conv1d, (*tensors, None))


@pytest.mark.compile
@pytest.mark.filterwarnings("ignore")
def test_compiles_without_a_graph_break(draw, assert_close):
    x, weight = draw(1, 2, 9), draw(2, 4)
    assert_close("y", causal_conv1d(x, weight), torch.compile(causal_conv1d, fullgraph=True)(x, weight), 1e-6)
