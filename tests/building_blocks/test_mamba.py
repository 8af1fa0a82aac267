"""The Mamba-1 layer and SegMamba's layer of it: counts, names, start, causality, limits, and the textbook's loop."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nnunetv2_mamba.building_blocks.mamba import Mamba, MambaLayer, MambaTrans
from nnunetv2_mamba.ops.scan import interface

NAMES = "in_proj.weight conv1d.weight conv1d.bias x_proj.weight dt_proj.weight dt_proj.bias A_log D out_proj.weight"
SIZES = {32: 14_240, 64: 55_616, 128: 219_776, 256: 873_728, 320: 1_240_640, 512: 2_697_728}


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def moved(module: nn.Module) -> nn.Module:
    """In double precision, with every parameter off its start."""
    torch.manual_seed(0)
    module = module.double()
    for parameter in module.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
    return module


def tokens(length: int = 70, channels: int = 8) -> torch.Tensor:
    return torch.randn(2, length, channels, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("width", SIZES)
def test_sizes(width):
    rank, state = math.ceil(width / 16), min(width, 256)
    mamba = 6 * width**2 + 4 * width * rank + 6 * width * state + 14 * width
    with torch.device("meta"):
        assert count(Mamba(width, state)) == mamba
        assert count(MambaTrans(width, state)) == mamba + width**2 + 5 * width
        assert count(MambaLayer(width)) == mamba + width**2 + 7 * width == SIZES[width]


def test_names_and_shapes_are_those_of_mamba_ssm():
    shapes = {name: tuple(tensor.shape) for name, tensor in Mamba(40, 6).state_dict().items()}
    expected = ((160, 40), (80, 1, 4), (80,), (15, 80), (80, 3), (80,), (80, 6), (80,), (40, 80))
    assert shapes == dict(zip(NAMES.split(), expected, strict=True))


def test_start():
    torch.manual_seed(0)
    mamba = Mamba(64, 16).requires_grad_(False)
    steps = F.softplus(mamba.dt_proj.bias)
    assert 1e-3 * 0.999 <= steps.min() < 2e-3
    assert 0.05 < steps.max() <= 0.1 * 1.001
    torch.testing.assert_close(mamba.A_log.exp(), torch.arange(1.0, 17.0).expand(128, 16))
    assert (mamba.D == 1).all()
    for weight, fan_in in ((mamba.x_proj.weight, 128), (mamba.dt_proj.weight, mamba.dt_rank), (mamba.conv1d.weight, 4)):
        assert 0.9 * fan_in**-0.5 < weight.abs().max() <= fan_in**-0.5


def textbook(mamba: Mamba, x: torch.Tensor) -> torch.Tensor:
    """Token after token, as algorithm 2 and figure 3 of the Mamba paper have it."""
    u, z = mamba.in_proj(x).chunk(2, dim=-1)
    width = mamba.conv1d.kernel_size[0]
    h, outputs, A = x.new_zeros(x.shape[0], mamba.d_inner, mamba.d_state), [], -mamba.A_log.exp()
    for t in range(x.shape[1]):
        window = F.pad(u, (0, 0, width - 1, 0))[:, t : t + width]
        v = F.silu((window * mamba.conv1d.weight[:, 0].T).sum(1) + mamba.conv1d.bias)
        low_rank, B, C = mamba.x_proj(v).split([mamba.dt_rank, mamba.d_state, mamba.d_state], dim=-1)
        step = F.softplus(mamba.dt_proj(low_rank))[..., None]
        h = (step * A).exp() * h + step * B[:, None] * v[..., None]
        outputs.append(((h * C[:, None]).sum(-1) + mamba.D * v) * F.silu(z[:, t]))
    return mamba.out_proj(torch.stack(outputs, dim=1))


def test_is_the_recurrence_of_the_paper_with_its_gradients():
    mamba = moved(Mamba(8, 5))
    results = []
    for run in (mamba, lambda x: textbook(mamba, x)):
        x = tokens().requires_grad_()
        y = run(x)
        parameters = list(mamba.parameters())
        results.append([y, *torch.autograd.grad(y.square().sum(), [x, *parameters])])
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("make", [lambda: Mamba(8, 5), lambda: MambaTrans(8, 5)], ids=["Mamba", "MambaTrans"])
def test_a_token_reaches_itself_and_those_behind_it(make):
    layer, x = moved(make()), tokens()
    other = x.clone()
    other[:, 30] += torch.randn(8, dtype=torch.float64)  # not a constant, which a LayerNorm would not see
    changed = (layer(other) - layer(x)).abs().amax((0, 2)) > 1e-9
    assert not changed[:30].any()
    assert changed[30:36].all()


def test_layer_visits_the_last_axis_fastest():
    layer = moved(MambaLayer(8))
    x = torch.randn(1, 8, 2, 3, 4, dtype=torch.float64)
    other = x.clone()
    other[0, :, 1, 0, 2] += torch.randn(8, dtype=torch.float64)
    changed = (layer(other) - layer(x)).abs().amax((0, 1)) > 1e-9
    order = torch.arange(24).reshape(2, 3, 4)
    assert torch.equal(changed, order >= 12 + 2)


@pytest.mark.parametrize("shape", [(2, 8, 5, 6), (1, 8, 2, 3, 4), (1, 8, 1, 1)], ids=["2d", "3d", "one"])
def test_without_mamba_and_head_the_layer_is_a_layer_norm(shape):
    """No residual goes around it; the second norm sees what the first has normalised."""
    layer, x = moved(MambaLayer(8)), torch.randn(shape, dtype=torch.float64)
    for parameter in (layer.mixer.mamba.out_proj.weight, *layer.mixer.head.parameters()):
        nn.init.zeros_(parameter)
    torch.testing.assert_close(layer(x), layer.norm(x.movedim(1, -1)).movedim(-1, 1))


def test_tokens_are_normalised_twice():
    layer = moved(MambaLayer(8))
    x = 5 * torch.randn(1, 8, 5, 6, dtype=torch.float64) + 3
    seen = []
    layer.mixer.mamba.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    layer(x)
    once = layer.norm(x.flatten(2).transpose(1, 2))
    torch.testing.assert_close(seen[0], layer.mixer.ln_1(once))
    assert not torch.allclose(seen[0], once)


def test_state_grows_with_the_width_up_to_256():
    with torch.device("meta"):
        assert [MambaLayer(width).mixer.mamba.d_state for width in (8, 256, 320)] == [8, 256, 256]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("how", ["autocast", "weights"])
def test_scan_is_in_float32_whatever_the_precision(monkeypatch, dtype, how):
    calls, original = [], interface.grid_scan

    def record(tensors, **options):
        calls.append(tensors.in_order()[:7])
        return original(tensors, **options)

    monkeypatch.setattr(interface, "grid_scan", record)
    layer, x = MambaLayer(32), 1e3 * torch.randn(2, 32, 6, 7)
    expected = layer(x)
    calls.clear()
    if how == "weights":
        y = layer.to(dtype)(x.to(dtype))
        assert y.dtype == dtype
    else:
        with torch.autocast("cpu", dtype):
            y = layer(x)
    assert {tensor.dtype for tensor in calls[0]} == {torch.float32}
    assert (calls[0][1].to(dtype).float() != calls[0][1]).any(), "step sizes were rounded"
    assert (y.float() - expected).norm() < {torch.float16: 0.005, torch.bfloat16: 0.03}[dtype] * expected.norm()
    y.float().square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())
