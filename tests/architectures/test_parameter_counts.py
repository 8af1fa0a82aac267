"""Sizes of the published configurations, to the last parameter."""

import pytest
from torch import nn

from nnunetv2_mamba.architectures import S3Mamba, VMUNet
from nnunetv2_mamba.architectures.s3mamba import PUBLISHED_BUDGET


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def count_without_gains(network: S3Mamba) -> int:
    return count(network) - sum(level.gain.numel() for level in network.decoder.tcma.seg_layers)


@pytest.mark.parametrize(
    ("arguments", "size"),
    [
        ({"input_channels": 3, "num_classes": 1}, 27_427_561),
        ({"input_channels": 3, "num_classes": 9}, 27_427_761),
        ({"input_channels": 1, "num_classes": 2, "conv_op": nn.Conv3d}, 33_540_482),
        ({"input_channels": 4, "num_classes": 4, "conv_op": nn.Conv3d}, 33_558_964),
    ],
    ids=["2d-1", "2d-9", "3d-1-2", "3d-4-4"],
)
def test_vmunet(arguments, size):
    assert count(VMUNet(**arguments)) == size


def test_vmunet_class_default_of_its_repository():
    network = VMUNet(3, 1, n_blocks_per_stage=(2, 2, 9, 2), n_blocks_per_stage_decoder=(2, 9, 2, 2))
    assert count(network) == 44_273_833


def test_vmunet_components():
    network = VMUNet(3, 1)
    assert count(network.encoder.patch_embed) == 4_896
    assert [count(layer) for layer in network.encoder.layers] == [285_312, 976_128, 3_574_272, 8_911_872]
    assert [count(layer) for layer in network.decoder.layers] == [8_911_872, 3_571_968, 974_976, 179_328]
    assert count(network.decoder.final_expand) == 36_912
    assert count(network.decoder.seg_layers) == 24 + 1
    assert len(network.state_dict()) == 222


def test_vmunet_pretrained_tensors():
    """VMamba's encoder weights cover 117 tensors of the encoder, and the decoder's blocks hold 91 more."""
    network = VMUNet(3, 1)
    assert len(network.encoder.state_dict()) == 117
    assert sum(".blocks." in key for key in network.decoder.state_dict()) == 91


def test_side_heads_add_one_convolution_a_level():
    assert count(VMUNet(3, 2, side_heads=True)) - count(VMUNet(3, 2)) == 2 * (96 + 192 + 384 + 3)


@pytest.mark.parametrize(
    ("arguments", "size"),
    [
        ({"input_channels": 3, "num_classes": 1}, 27_782_451),
        ({"input_channels": 3, "num_classes": 2}, 27_787_572),
        ({"input_channels": 1, "num_classes": 4}, 27_793_814),
        ({"input_channels": 3, "num_classes": 1, **PUBLISHED_BUDGET}, 27_587_010),
    ],
    ids=["3-1", "3-2", "1-4", "3-1-published"],
)
def test_s3mamba(arguments, size):
    network = S3Mamba(**arguments)
    assert count_without_gains(network) == size
    assert count(network) == size + 4 * arguments["num_classes"]


@pytest.mark.parametrize(
    ("arguments", "size"),
    [
        ({}, 27_710_827),
        ({"channel_attention": False}, 27_314_281),
        ({"reduction": 24}, 27_580_533),
        ({"reduction": 32}, 27_515_386),
        ({"channel_attention": False, "depthwise_conv": True}, 27_427_561),
        ({"num_classes": 2, "input_channels": 1, "conv_op": nn.Conv3d}, 33_619_844),
        ({"num_classes": 4, "input_channels": 4, "conv_op": nn.Conv3d}, 33_638_326),
    ],
    ids=["plain", "no-attention", "r24", "r32", "vmunet", "3d-1-2", "3d-4-4"],
)
def test_s3mamba_without_tcma(arguments, size):
    assert count(S3Mamba(**{"input_channels": 3, "num_classes": 1, "tcma": False} | arguments)) == size


def test_s3mamba_tensors():
    network = S3Mamba(3, 1, tcma=False)
    assert len(network.state_dict()) == 252
    of_vmamba = [key for key in network.encoder.state_dict() if ".channel_attention." not in key]
    assert len(of_vmamba) == 101
    decoder_blocks = [key for key in network.decoder.state_dict() if ".blocks." in key]
    assert sum(".channel_attention." not in key for key in decoder_blocks) == 77
