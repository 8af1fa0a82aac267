"""VSSBlock, EnVSSBlock with EnCFBlock, and RSSSBlock: exact counts and limits."""

import pytest
import torch
from torch import nn

from nnunetv2_mamba.building_blocks import EnCFBlock, EnVSSBlock, RSSSBlock, VSSBlock

WIDTHS = (96, 192, 384, 768)
CONV_OPS = [pytest.param(nn.Conv2d, id="2d"), pytest.param(nn.Conv3d, id="3d")]


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def attention_size(width: int, reduction: int = 16) -> int:
    hidden = width // reduction
    return 2 * width * hidden + width + hidden


@pytest.mark.parametrize("width", WIDTHS)
def test_vss_block_size(width):
    assert count(VSSBlock(width)) == 7 * width**2 + 426 * width
    assert count(VSSBlock(width, nn.Conv3d)) == 7.5 * width**2 + 662 * width


@pytest.mark.parametrize("width", WIDTHS)
def test_envss_block_size(width):
    size = count(EnVSSBlock(width))
    assert size == {96: 104_742, 192: 340_812, 384: 1_206_936, 768: 4_515_120}[width]
    assert size == 7 * width**2 + 406 * width + attention_size(width)
    assert count(EnVSSBlock(width, nn.Conv3d)) == 7.5 * width**2 + 606 * width + attention_size(width)


@pytest.mark.parametrize("width", WIDTHS)
def test_rsss_block_size(width):
    size = count(RSSSBlock(width))
    assert size == {96: 199_392, 192: 693_696, 384: 2_567_040, 768: 9_852_672}[width]
    assert size == 16 * width**2 + 541 * width
    with torch.device("meta"):
        assert count(RSSSBlock(width, nn.Conv3d)) == 34.5 * width**2 + 1479 * width


def test_names_are_those_of_vmamba():
    own = "in_proj.weight conv2d.weight conv2d.bias x_proj_weight dt_projs_weight dt_projs_bias A_logs Ds"
    mixer = {f"self_attention.{name}" for name in own.split()}
    mixer |= {"self_attention.out_norm.weight", "self_attention.out_norm.bias", "self_attention.out_proj.weight"}
    assert set(VSSBlock(16).state_dict()) == mixer | {"ln_1.weight", "ln_1.bias"}


@pytest.mark.parametrize("block_class", [VSSBlock, EnVSSBlock])
@pytest.mark.parametrize("conv_op", CONV_OPS)
def test_without_output_projection_a_block_is_the_identity(block_class, conv_op):
    block = block_class(16, conv_op)
    nn.init.zeros_(block.self_attention.out_proj.weight)
    x = torch.randn(2, *(3,) * (2 if conv_op is nn.Conv2d else 3), 16)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize("block_class", [VSSBlock, EnVSSBlock])
def test_dropped_samples_pass_unchanged(block_class):
    torch.manual_seed(0)
    block = block_class(16, drop_path_rate=0.5)
    x = torch.randn(8, 3, 3, 16)
    y = block(x)
    unchanged = (y == x).flatten(1).all(1)
    assert 0 < unchanged.sum() < 8
    branch = block.eval()(x) - x
    torch.testing.assert_close((y - x)[~unchanged], 2 * branch[~unchanged])


def test_neutral_gate_is_one_half():
    block = EnCFBlock(32)
    nn.init.zeros_(block.fc2.weight)
    nn.init.zeros_(block.fc2.bias)
    u = torch.randn(2, 3, 4, 32)
    torch.testing.assert_close(block(u), 1.5 * u)


def test_channel_attention_sees_each_sample_alone_and_only_its_mean():
    block = EnCFBlock(32)
    u = torch.randn(2, 3, 4, 32)
    torch.testing.assert_close(block(u)[1:], block(u[1:]))
    shuffled = u.flatten(1, 2)[:, torch.randperm(12)].reshape(u.shape)
    torch.testing.assert_close(block(shuffled).sum((1, 2)), block(u).sum((1, 2)))


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_envss_block_is_the_sum_of_its_parts(rate):
    """The two residuals and the dropped branch, which the block computes in one pass."""
    torch.manual_seed(0)
    block, x = EnVSSBlock(16, drop_path_rate=rate).double(), torch.randn(6, 3, 4, 16, dtype=torch.float64)
    torch.manual_seed(1)
    y = block(x)
    torch.manual_seed(1)
    expected = x + block.drop_path(block.channel_attention(block.self_attention(block.ln_1(x))))
    torch.testing.assert_close(y, expected)
    u = torch.randn(2, 3, 4, 16, dtype=torch.float64)
    attention = block.channel_attention
    gate = attention.fc2(attention.fc1(u.mean((1, 2), keepdim=True)).relu()).sigmoid()
    torch.testing.assert_close(attention(u), u * gate + u)


def test_envss_reduces_to_vss_when_switched_off():
    plain = EnVSSBlock(16, depthwise_conv=True, channel_attention=False)
    reference = VSSBlock(16)
    reference.load_state_dict(plain.state_dict())
    x = torch.randn(1, 3, 4, 16)
    assert torch.equal(plain(x), reference(x))


@pytest.mark.parametrize("conv_op", CONV_OPS)
@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_rsss_block_without_projections_is_the_identity(conv_op, norm):
    block = RSSSBlock(16, conv_op, norm=norm)
    nn.init.zeros_(block.self_attention.out_proj.weight)
    nn.init.zeros_(block.rfac.norm.weight)
    x = torch.randn(2, *(3,) * (2 if conv_op is nn.Conv2d else 3), 16)
    assert torch.equal(block(x), x)


def test_rsss_block_is_the_sum_of_its_parts():
    """Drop path spares the second branch, and each scale acts on a residual only."""
    torch.manual_seed(0)
    block, x = RSSSBlock(16, drop_path_rate=0.5).double(), torch.randn(6, 3, 4, 16, dtype=torch.float64)
    for scale in (block.skip_scale, block.skip_scale2):
        scale.data.normal_()
    torch.manual_seed(1)
    y = block(x)
    torch.manual_seed(1)
    middle = block.skip_scale * x + block.drop_path(block.self_attention(block.ln_1(x)))
    torch.testing.assert_close(y, block.skip_scale2 * middle + block.rfac(block.ln_2(middle)))
    assert (y - block.skip_scale2 * middle).min() > -1e-12


def test_rsss_block_keeps_the_names_of_vmamba():
    own = set(RSSSBlock(16).state_dict())
    assert own > set(VSSBlock(16).state_dict())
    added = {name.split(".")[0] for name in own - set(VSSBlock(16).state_dict())}
    assert added == {"skip_scale", "ln_2", "rfac", "skip_scale2"}
