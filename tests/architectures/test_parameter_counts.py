"""Sizes of the published configurations, to the last parameter."""

import pytest
import torch
from torch import nn

from nnunetv2_mamba.architectures import S3Mamba, SAUMamba, SegMamba, VMUNet
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


DEAD_MODULES_OF_SAUMAMBAS_CODE = 1_588_320 + 46_208
"""Fusions and up-samplers that it makes and never calls."""


@pytest.mark.parametrize(
    ("arguments", "size"),
    [
        ({}, 41_859_241),
        ({"num_classes": 9}, 41_859_441),
        ({"decoder_rfac": True}, 56_196_937),
        ({"decoder_rfac": True, "num_classes": 9}, 56_197_137),
        ({"n_blocks_per_stage": (2, 2, 9, 2)}, 61_463_049 - DEAD_MODULES_OF_SAUMAMBAS_CODE),
        ({"input_channels": 1, "num_classes": 2, "conv_op": nn.Conv3d}, 78_194_882),
    ],
    ids=["1", "9", "decoder-1", "decoder-9", "deep", "3d-1-2"],
)
def test_saumamba(arguments, size):
    with torch.device("meta"):
        network = SAUMamba(**{"input_channels": 3, "num_classes": 1} | arguments)
    assert count(network) == size


VOLUMES = {"features_per_stage": (32, 64, 128, 256, 320, 320), "conv_op": nn.Conv3d}
THIN, FLAT = (1, 2, 2), (1, 3, 3)
BRATS = {"input_channels": 4, "num_classes": 4, **VOLUMES}
SYNAPSE = {"strides": (1, THIN, 2, 2, 2, THIN), "kernel_sizes": (FLAT, 3, 3, 3, 3, 3), **VOLUMES}
ACDC = {"strides": (1, THIN, THIN, 2, THIN, THIN), "kernel_sizes": (FLAT, FLAT, 3, 3, 3, 3), **VOLUMES}
TOY = {"features_per_stage": (8, 16, 32), "strides": (1, 2, 2), "conv_op": nn.Conv3d}


def segmamba(**arguments) -> SegMamba:
    with torch.device("meta"):
        return SegMamba(**arguments)


@pytest.mark.parametrize(
    ("arguments", "size"),
    [
        (BRATS, 61_379_764),
        ({"input_channels": 1, "num_classes": 14, **SYNAPSE}, 60_800_966),
        ({"input_channels": 1, "num_classes": 4, **ACDC}, 59_805_780),
        ({"input_channels": 1, "num_classes": 4}, 45_369_748),
        ({"input_channels": 3, "num_classes": 2}, 45_368_330),
        ({"input_channels": 1, "num_classes": 2, **TOY}, 197_892),
    ],
    ids=["brats", "synapse", "acdc", "2d-1-4", "2d-3-2", "toy"],
)
def test_segmamba(arguments, size):
    assert count(segmamba(**arguments)) == size


def test_segmamba_components():
    network = segmamba(**BRATS)
    assert count(network.encoder.stem) == 3_552
    stages = [110_976, 390_016, 1_558_272, 6_229_504, 10_592_640, 11_063_040]
    assert [count(stage) for stage in network.encoder.stages] == stages
    layers = [14_240, 55_616, 219_776, 873_728, 1_240_640, 1_240_640]
    assert [count(layer) for layer in network.encoder.layers] == layers
    assert count(network.decoder) == 27_787_124
    heads = [(head.in_channels + 1) * 4 for head in network.decoder.seg_layers]
    assert count(network.decoder.seg_layers) == sum(heads) == 4 * (320 + 256 + 128 + 64 + 32 + 5)
