"""The short causal filter against its definition, term by term."""

import pytest
import torch

from nnunetv2_mamba.ops import causal_conv1d
from nnunetv2_mamba.ops.convolution import CausalConv1dBackend


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


@pytest.mark.compile
@pytest.mark.filterwarnings("ignore")
def test_compiles_without_a_graph_break(draw, assert_close):
    x, weight = draw(1, 2, 9), draw(2, 4)
    assert_close("y", causal_conv1d(x, weight), torch.compile(causal_conv1d, fullgraph=True)(x, weight), 1e-6)
