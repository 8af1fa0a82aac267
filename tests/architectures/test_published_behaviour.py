"""How the published networks behave beyond their sizes: skips, drop path, start, and what each part does."""

import pytest
import torch
from torch import nn

from nnunetv2_mamba.architectures import S3Mamba, SegMamba, VMUNet
from nnunetv2_mamba.building_blocks.conv_blocks import ResidualConvBlock
from nnunetv2_mamba.building_blocks.mamba import Mamba
from nnunetv2_mamba.building_blocks.ss2d import SSND
from nnunetv2_mamba.building_blocks.vss_encoder import EncodedImage
from tests.architectures.small_networks import small_network, sweep

TINY = {"features_per_stage": (8, 16, 24, 32), "n_blocks_per_stage": 1, "n_blocks_per_stage_decoder": 1, "d_state": 4}


def tiny(network_class: type[nn.Module], **arguments) -> nn.Module:
    torch.manual_seed(0)
    return network_class(3, 2, **TINY | arguments)


@pytest.mark.parametrize("finest_skip", [False, True])
def test_gradient_reaches_all_skips_but_the_finest(finest_skip):
    network = tiny(VMUNet, finest_skip=finest_skip)
    x = torch.randn(1, 3, 256, 256)
    encoded = network.encoder(x)
    assert [tuple(skip.shape[1:]) for skip in encoded.skips] == [(64, 64, 8), (32, 32, 16), (16, 16, 24), (8, 8, 32)]
    skips = [skip.detach().requires_grad_() for skip in encoded.skips]
    features = [feature.detach() for feature in encoded.features]
    network.decoder(x, EncodedImage(skips, features))[0].square().sum().backward()
    reached = [skip.grad is not None and bool(skip.grad.abs().max() > 0) for skip in skips]
    assert reached == [finest_skip, True, True, True]


def test_drop_path_rises_in_the_encoder_and_falls_in_the_decoder():
    network = VMUNet(3, 1)
    encoder, decoder = (
        [block.drop_path.rate for layer in part.layers for block in layer.blocks]
        for part in (network.encoder, network.decoder)
    )
    assert encoder == pytest.approx([0, 0.0286, 0.0571, 0.0857, 0.1143, 0.1429, 0.1714, 0.2], abs=5e-5)
    assert decoder == pytest.approx([0.2, 0.1667, 0.1333, 0.1, 0.0667, 0.0333, 0], abs=5e-5)


@pytest.mark.parametrize("network_class", [VMUNet, S3Mamba])
def test_start(network_class):
    torch.manual_seed(0)
    network = network_class(3, 2).requires_grad_(False)
    for key, module in network.named_modules():
        if isinstance(module, nn.Linear) and ".tcma." not in key:
            assert module.weight.std() == pytest.approx(0.02, rel=0.1)
            assert module.weight.abs().max() <= 2
            assert module.bias is None or not module.bias.any()
        if isinstance(module, nn.LayerNorm):
            assert module.eps == 1e-5
            assert (module.weight == 1).all()
            assert not module.bias.any()
        if isinstance(module, SSND):
            inner = module.d_inner
            assert module.x_proj_weight.abs().max() <= inner**-0.5
            dt = nn.functional.softplus(module.dt_projs_bias)
            assert dt.min() >= 1e-3 * 0.999
            assert dt.max() <= 0.1 * 1.001
            assert (module.Ds == 1).all()
            if module.conv2d is not None:
                assert 0.3 < module.conv2d.weight.abs().max() <= 1 / 3


def test_tcma_starts_without_effect_on_the_logits():
    """With the feedback at zero the network is its own backbone; after one step TCMA acts."""
    network, backbone = tiny(S3Mamba, drop_path_rate=0.0), tiny(S3Mamba, tcma=False, drop_path_rate=0.0)
    missing = backbone.load_state_dict(network.state_dict(), strict=False)
    assert missing.missing_keys == []
    assert all(key.startswith("decoder.tcma.") for key in missing.unexpected_keys)
    x = torch.randn(2, 3, 64, 64)
    assert torch.equal(network(x), backbone(x))

    optimizer = torch.optim.SGD(network.decoder.tcma.parameters(), lr=1.0)
    network(x).square().mean().backward()
    touched = [
        key for key, p in network.decoder.tcma.named_parameters() if p.grad is not None and p.grad.abs().max() > 0
    ]
    assert touched
    assert all("feedback" in key for key in touched)
    optimizer.step()
    assert not torch.equal(network(x), backbone(x))
    network(x).square().mean().backward()
    assert network.decoder.tcma.image_stem[0].weight.grad.abs().max() > 0


def test_deep_supervision_reaches_tcma_at_once():
    network = tiny(S3Mamba, deep_supervision=True)
    _, *masks = network(torch.randn(2, 3, 64, 64))
    sum(mask.square().mean() for mask in masks).backward()
    assert network.decoder.tcma.image_stem[0].weight.grad.abs().max() > 0
    assert all(level.gain.grad.abs().max() > 0 for level in network.decoder.tcma.seg_layers[:-1])


def test_switches_turn_s3mamba_into_vmunet():
    plain = tiny(S3Mamba, tcma=False, channel_attention=False, depthwise_conv=True).eval()
    reference = tiny(VMUNet).eval()
    reference.load_state_dict(plain.state_dict())
    x = torch.randn(1, 3, 40, 64)
    assert torch.equal(plain(x), reference(x))


@sweep
def test_encoder_is_stored_once(name):
    keys = small_network(name, 1, 2, (1, 4, 2)).state_dict()
    assert {key.split(".")[0] for key in keys} == {"encoder", "decoder"}
    assert not any("encoder" in key for key in keys if key.startswith("decoder."))


def segmamba(conv_op: type[nn.Module] = nn.Conv2d) -> SegMamba:
    torch.manual_seed(0)
    return SegMamba(2, 3, (8, 16, 24), (1, 2, 2), conv_op=conv_op)


@pytest.mark.parametrize("conv_op", [nn.Conv2d, nn.Conv3d])
def test_start_of_segmamba(conv_op):
    network = segmamba(conv_op).requires_grad_(False)
    blocks = [module for module in network.modules() if isinstance(module, ResidualConvBlock)]
    assert len(blocks) == 2 * 3 + 2 * 2
    for block in blocks:
        assert not block.conv2.norm.weight.any()
        assert not block.conv2.norm.bias.any()
        assert (block.conv1.norm.weight == 1).all()
    transposed = nn.ConvTranspose2d if conv_op is nn.Conv2d else nn.ConvTranspose3d
    convolutions = [module for module in network.modules() if isinstance(module, conv_op | transposed)]
    assert len(convolutions) == 1 + 2 * len(blocks) + 2 + 2 + 2 + 2  # stem, blocks, projections, upsampling, heads
    for convolution in convolutions:
        # He's normal for a leaky ReLU of slope 0.01; PyTorch counts a transposed convolution's outputs as its inputs.
        wanted = (2 / (1 + 0.01**2) / convolution.weight[0].numel()) ** 0.5
        assert convolution.weight.std() == pytest.approx(wanted, rel=4 * convolution.weight.numel() ** -0.5)
        assert convolution.bias is None or not convolution.bias.any()
    mambas = [module for module in network.modules() if isinstance(module, Mamba)]
    assert len(mambas) == 3
    for mamba in mambas:
        assert 0.45 < mamba.conv1d.weight.abs().max() <= 0.5  # PyTorch's start, not He's
        assert mamba.conv1d.bias.any()
        steps = nn.functional.softplus(mamba.dt_proj.bias)
        assert 1e-3 * 0.999 <= steps.min() <= steps.max() <= 0.1 * 1.001


def test_mamba_feeds_the_next_stage_and_the_skip():
    network, x = segmamba(), torch.randn(1, 2, 16, 16)
    skips = network.encoder(x)
    network.encoder.layers[0][0].mixer.head.bias.data += torch.randn(8)
    assert not any(torch.equal(*pair) for pair in zip(network.encoder(x), skips, strict=True))
    seen = []
    network.encoder.stages[1].register_forward_pre_hook(lambda stage, inputs: seen.append(inputs[0]))
    assert torch.equal(network.encoder(x)[0], seen[0])


def test_a_single_stage_has_the_head_on_its_output():
    network = SegMamba(1, 2, (4,), (1,), deep_supervision=True)
    (logits,) = network(torch.randn(1, 1, 5, 7))
    assert logits.shape == (1, 2, 5, 7)
    logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
