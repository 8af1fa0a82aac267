"""RFAC against its published form, a convolution of stride 3 over a grid of nine times as many positions."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nnunetv2_mamba.building_blocks import RFAC
from nnunetv2_mamba.building_blocks.batch_norm import BatchNorm

CONV_OPS = [pytest.param(nn.Conv2d, id="2d"), pytest.param(nn.Conv3d, id="3d")]
SIZES = {nn.Conv2d: [(5, 6), (1, 4)], nn.Conv3d: [(3, 4, 5), (1, 2, 4)]}
POOLS = {nn.Conv2d: F.avg_pool2d, nn.Conv3d: F.avg_pool3d}

both_dimensions = pytest.mark.parametrize("conv_op", CONV_OPS)
both_norms = pytest.mark.parametrize("norm", ["batch", "instance"])


class Published(nn.Module):
    """The modules of SA-UMamba's code, with the weights of an `RFAC`."""

    def __init__(self, rfac: RFAC, conv_op: type[nn.Module], norm: str) -> None:
        super().__init__()
        channels, taps, self.axes = rfac.channels, rfac.taps, 2 if conv_op is nn.Conv2d else 3
        make_norm = getattr(nn, f"{norm.capitalize()}Norm{self.axes}d")
        self.pool = lambda x: POOLS[conv_op](F.pad(x, (1, 1) * self.axes), 3, 1)
        self.attention = conv_op(channels, taps * channels, 1, groups=channels, bias=False)
        self.features = conv_op(channels, taps * channels, 3, padding=1, groups=channels, bias=False)
        self.feature_norm = make_norm(taps * channels, affine=True)
        self.conv = conv_op(channels, channels, 3, stride=3)
        self.norm = make_norm(channels, affine=True)
        self.double()
        for own, theirs in self.pairs(rfac):
            own.data.copy_(theirs)

    def pairs(self, rfac: RFAC) -> list[tuple[Tensor, Tensor]]:
        """Own parameters and what of an RFAC's parameters or their gradients belongs there: channel, then tap."""

        def by_channel(tensor: Tensor) -> Tensor:
            return tensor.unflatten(0, (rfac.taps, -1)).transpose(0, 1).flatten(0, 1)

        return [
            (self.attention.weight, rfac.attention.T.flatten().view_as(self.attention.weight)),
            (self.features.weight, by_channel(rfac.kernels)),
            (self.feature_norm.weight, by_channel(rfac.feature_norm.weight)),
            (self.feature_norm.bias, by_channel(rfac.feature_norm.bias)),
            (self.conv.weight, rfac.weight.permute(2, 1, 0).reshape(self.conv.weight.shape)),
            (self.conv.bias, rfac.bias),
            (self.norm.weight, rfac.norm.weight),
            (self.norm.bias, rfac.norm.bias),
        ]

    def shares(self, x: Tensor) -> Tensor:
        """Softmax over taps, (B, C, taps, *spatial)."""
        return self.attention(self.pool(x)).unflatten(1, (x.shape[1], -1)).softmax(2)

    def forward(self, tokens: Tensor) -> Tensor:
        x = tokens.movedim(-1, 1)
        features = self.feature_norm(self.features(x)).relu().unflatten(1, (x.shape[1], -1))
        cells = (features * self.shares(x)).unflatten(2, (3,) * self.axes)
        pairs = [axis for first in range(2, 2 + self.axes) for axis in (first + self.axes, first)]
        grid = cells.permute(0, 1, *pairs).reshape(*x.shape[:2], *(3 * size for size in x.shape[2:]))
        return self.norm(self.conv(grid)).relu().movedim(1, -1)


def make_rfac(conv_op: type[nn.Module], norm: str = "batch", channels: int = 6) -> RFAC:
    torch.manual_seed(0)
    rfac = RFAC(channels, conv_op, norm).double()
    for parameter in rfac.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.3)
    return rfac


def gradients(module: nn.Module, tokens: Tensor) -> Tensor:
    """Of all parameters, in place, and of the tokens."""
    leaf = tokens.clone().requires_grad_()
    direction = torch.randn(tokens.shape, dtype=tokens.dtype, generator=torch.Generator().manual_seed(2))
    (module(leaf) * direction).sum().backward()
    return leaf.grad


@both_dimensions
@both_norms
@pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
@pytest.mark.parametrize("all_at_once", [False, True], ids=["chosen", "all-at-once"])
def test_is_the_convolution_of_stride_3(conv_op, norm, training, all_at_once, monkeypatch):
    if all_at_once:
        monkeypatch.setattr(RFAC, "_one_tap_at_a_time", lambda *_: False)
    for size in SIZES[conv_op]:
        rfac = make_rfac(conv_op, norm)
        published = Published(rfac, conv_op, norm)
        tokens = torch.randn(2, *size, 6, dtype=torch.float64)
        for module in (rfac, published):
            module(tokens)
            module.train(training)
        torch.testing.assert_close(rfac(tokens), published(tokens))
        torch.testing.assert_close(gradients(rfac, tokens), gradients(published, tokens))
        for parameter in rfac.parameters():
            parameter.data = parameter.grad
        for own, theirs in published.pairs(rfac):
            torch.testing.assert_close(own.grad, theirs, atol=1e-11, rtol=1e-7)


@both_dimensions
def test_averages_of_the_batches_are_those_of_the_published_form(conv_op):
    rfac = make_rfac(conv_op)
    published = Published(rfac, conv_op, "batch")
    for _ in range(3):
        tokens = 2 + torch.randn(2, *SIZES[conv_op][0], 6, dtype=torch.float64)
        rfac(tokens), published(tokens)
    assert rfac.feature_norm.num_batches_tracked == rfac.norm.num_batches_tracked == 3
    for name in ("running_mean", "running_var"):
        own = getattr(rfac.feature_norm, name).view(rfac.taps, -1).T.flatten()
        torch.testing.assert_close(own, getattr(published.feature_norm, name))
        torch.testing.assert_close(getattr(rfac.norm, name), getattr(published.norm, name))


@pytest.mark.parametrize("momentum", [0.1, None])
def test_a_norm_that_is_frozen_or_averages_all_batches_is_that_of_torch(momentum, monkeypatch):
    results = []
    for all_at_once in (False, True):
        monkeypatch.setattr(RFAC, "_one_tap_at_a_time", lambda *_, all_at_once=all_at_once: not all_at_once)
        rfac = make_rfac(nn.Conv2d)
        rfac.feature_norm.momentum = momentum
        torch.manual_seed(1)
        for _ in range(3):
            rfac(torch.randn(2, 5, 6, 6, dtype=torch.float64))
        rfac.feature_norm.eval()
        results.append([rfac(torch.randn(2, 5, 6, 6, dtype=torch.float64)), *rfac.feature_norm.buffers()])
    for own, torchs in zip(*results, strict=True):
        torch.testing.assert_close(own, torchs)


@both_dimensions
def test_shares_of_the_taps_sum_to_one(conv_op):
    rfac = make_rfac(conv_op)
    tokens = 10 * torch.randn(2, *SIZES[conv_op][0], 6, dtype=torch.float64)
    shares = rfac.attention_weights(tokens)
    assert shares.shape == (*tokens.shape[:-1], rfac.taps, 6)
    assert shares.min() >= 0
    torch.testing.assert_close(shares.sum(-2), torch.ones_like(tokens))
    expected = Published(rfac, conv_op, "batch").shares(tokens.movedim(-1, 1))
    torch.testing.assert_close(shares.movedim((-1, -2), (1, 2)), expected)


@both_dimensions
@both_norms
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("autocast", [False, True], ids=["own", "autocast"])
def test_results_are_finite_and_not_negative_in_any_precision(conv_op, norm, dtype, autocast):
    rfac = make_rfac(conv_op, norm).to(torch.float32 if autocast else dtype)
    tokens = torch.randn(2, *SIZES[conv_op][0], 6).to(rfac.bias.dtype)
    exact = make_rfac(conv_op, norm)(tokens.double())
    with torch.autocast("cpu", dtype, enabled=autocast and dtype != torch.float32):
        y = rfac(tokens)
        large = rfac(1e3 * tokens)
    assert y.dtype == rfac.bias.dtype
    assert 0 == y.min() < y.max()
    assert (y.double() - exact).norm() < {torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 5e-2}[dtype] * (
        exact.norm()
    )
    assert large.isfinite().all()
    y.float().square().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in rfac.parameters())


@pytest.mark.parametrize("channels", [16, 96])
def test_size(channels):
    def size(conv_op: type[nn.Module]) -> int:
        return sum(parameter.numel() for parameter in RFAC(channels, conv_op).parameters())

    assert size(nn.Conv2d) == 9 * channels**2 + 111 * channels
    assert size(nn.Conv3d) == 27 * channels**2 + 813 * channels


def elements_kept(module: nn.Module, tokens: Tensor) -> int:
    """By autograd, weights aside."""
    weights = {tensor.untyped_storage().data_ptr() for tensor in module.state_dict().values()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        assert module(tokens).requires_grad
    return sum(tensor.untyped_storage().nbytes() // tensor.element_size() for tensor in kept.values())


@both_dimensions
def test_keeps_five_feature_maps_where_the_grid_keeps_dozens(conv_op):
    rfac = make_rfac(conv_op)
    tokens = torch.randn(1, *(12,) * (2 if conv_op is nn.Conv2d else 3), 6, dtype=torch.float64)
    kept = elements_kept(rfac, tokens)
    assert rfac.compute_conv_feature_map_size(tokens.numel() // 6) == pytest.approx(kept, rel=0.1)
    assert elements_kept(Published(rfac, conv_op, "batch"), tokens) > 4 * rfac.taps * tokens.numel() > 7 * kept


@both_norms
def test_a_single_position_leaves_the_bias(norm):
    rfac = make_rfac(nn.Conv2d, norm)
    before = {name: buffer.clone() for name, buffer in rfac.named_buffers()}
    tokens = torch.randn(1, 1, 1, 6, dtype=torch.float64)
    torch.testing.assert_close(rfac(tokens), rfac.norm.bias.relu().expand_as(tokens))
    assert all(torch.equal(buffer, before[name]) for name, buffer in rfac.named_buffers())
    assert gradients(rfac, tokens).isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in rfac.parameters())


def test_nnunets_norm_over_several_processes_takes_its_place():
    rfac, tokens = make_rfac(nn.Conv2d), torch.randn(2, 5, 6, 6, dtype=torch.float64)
    expected = rfac(tokens)
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(make_rfac(nn.Conv2d))
    assert type(converted.feature_norm) is type(converted.norm) is nn.SyncBatchNorm
    torch.testing.assert_close(converted(tokens), expected)
    torch.testing.assert_close(converted.eval()(tokens), rfac.eval()(tokens))


def test_an_unknown_norm_is_one_sentence():
    with pytest.raises(ValueError, match=r"^the norm of RFAC is 'layer'; use one of batch, instance$"):
        RFAC(4, norm="layer")


def test_batch_norm_is_pytorchs():
    torch.manual_seed(0)
    own, theirs = BatchNorm(3), nn.BatchNorm2d(3)
    for _ in range(2):
        x = 1 + torch.randn(2, 3, 4, 5)
        assert torch.equal(own(x), theirs(x))
    assert own.state_dict().keys() == theirs.state_dict().keys()
    assert all(torch.equal(tensor, theirs.state_dict()[name]) for name, tensor in own.state_dict().items())
