"""How VM-UNet and S3-Mamba behave beyond their sizes: skips, drop path, start, and TCMA's part in the output."""

import pytest
import torch
from torch import nn

from nnunetv2_mamba.architectures import S3Mamba, VMUNet
from nnunetv2_mamba.building_blocks.ss2d import SSND
from nnunetv2_mamba.building_blocks.vss_encoder import EncodedImage

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


def test_encoder_is_stored_once():
    keys = list(tiny(S3Mamba).state_dict())
    assert len(keys) == len(set(keys))
    assert {key.split(".")[0] for key in keys} == {"encoder", "decoder"}
    assert not any("encoder" in key for key in keys if key.startswith("decoder."))
