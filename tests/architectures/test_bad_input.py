"""Wrong arguments and wrong images: one sentence that names the value."""

import pytest
import torch
from torch import nn

from nnunetv2_mamba.architectures import S3Mamba, VMUNet
from tests.architectures.small_networks import network_class, small_arguments, small_network, sweep, sweep_those_with

STRIDES = (1, 4, 2)
SMALL = {"features_per_stage": (4, 8), "strides": STRIDES, "n_blocks_per_stage": 1, "n_blocks_per_stage_decoder": 1}


@sweep
@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 2, 16, 16), "2 channels.*built for 3"),
        ((3, 16, 16), r"\(3, 16, 16\).*2 spatial axes"),
        ((1, 3, 16, 16, 16), r"\(1, 3, 16, 16, 16\).*2 spatial axes"),
        ((1, 3, 16, 0), r"\(16, 0\).*one token"),
    ],
    ids=["channels", "no-batch", "3d", "empty"],
)
def test_wrong_shape(name, shape, message):
    with pytest.raises(ValueError, match=message):
        small_network(name, 3, 2, STRIDES)(torch.zeros(shape))


@pytest.mark.parametrize("network_class", [VMUNet, S3Mamba])
def test_an_image_smaller_than_a_patch(network_class):
    with pytest.raises(ValueError, match=r"\(16, 3\).*one token.*\(4, 4\)"):
        network_class(3, 2, **SMALL)(torch.zeros(1, 3, 16, 3))


@sweep
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_no_numbers(name, value):
    x = torch.zeros(1, 3, 16, 16)
    x[0, 1, 2, 3] = value
    with pytest.raises(ValueError, match="NaN or Inf"):
        small_network(name, 3, 2, STRIDES)(x)


@sweep
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strides": (1,)}, "1 entries; . stages ask for"),
        ({"strides": (4, 2, 2)}, r"first entry of strides is \(4, 4\)"),
        ({"strides": (1, 4, (2, 2, 2))}, "every entry needs 2 steps"),
        ({"strides": (1, 4, 0)}, "at least 1"),
        ({"n_blocks_per_stage": (1, 1, 1, 1)}, r"n_blocks_per_stage is \[1, 1, 1, 1\]"),
        ({"n_blocks_per_stage_decoder": (1, 0)}, r"n_blocks_per_stage_decoder is \[1, 0\]"),
        ({"conv_op": nn.Linear}, "Linear"),
    ],
    ids=["short", "first", "dims", "zero", "blocks", "decoder-blocks", "conv-op"],
)
def test_wrong_arguments(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        network_class(name)(3, 2, **small_arguments(name, STRIDES) | arguments)


@sweep
def test_wrong_number_of_strides_says_what_they_stand_for(name):
    with pytest.raises(ValueError, match=r"strides has 4 entries; . stages ask for 3: ones, \w+"):
        network_class(name)(3, 2, **small_arguments(name, STRIDES) | {"strides": (*STRIDES, 2)})


@sweep_those_with("drop_path_rate")
def test_wrong_drop_path_rate(name):
    with pytest.raises(ValueError, match=r"1\.0"):
        small_network(name, 3, 2, STRIDES, drop_path_rate=1.0)


@sweep_those_with("kernel_sizes")
@pytest.mark.parametrize(
    ("kernel_sizes", "message"),
    [
        ((3, 3), "2 entries; features_per_stage asks for 3"),
        (2, "needs 2 odd sizes"),
        ((3, (3, 4), 3), "needs 2 odd sizes"),
        ((3, 3, (3, 3, 3)), "needs 2 odd sizes"),
    ],
    ids=["short", "even", "even-axis", "dims"],
)
def test_wrong_kernel_sizes(name, kernel_sizes, message):
    with pytest.raises(ValueError, match=message):
        small_network(name, 3, 2, STRIDES, kernel_sizes=kernel_sizes)


def test_deep_supervision_needs_side_outputs():
    with pytest.raises(ValueError, match="side_heads=True"):
        VMUNet(3, 2, **SMALL, deep_supervision=True)
    with pytest.raises(ValueError, match="side_heads=True"):
        S3Mamba(3, 2, **SMALL, tcma=False, deep_supervision=True)
    network = VMUNet(3, 2, **SMALL)
    with pytest.raises(ValueError, match="side_heads=True"):
        network.decoder.deep_supervision = True
    assert isinstance(network(torch.zeros(1, 3, 16, 16)), torch.Tensor)


def test_side_heads_and_tcma_exclude_each_other():
    with pytest.raises(ValueError, match="drop side_heads"):
        S3Mamba(3, 2, **SMALL, side_heads=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tcma_patches": ()}, r"patches of TCMA are \[\]"),
        ({"tcma_patches": (4, 1)}, r"patches of TCMA are \[4, 1\]"),
        ({"tcma_image_channels": 0}, "are 0, 8 and 64"),
        ({"tcma_edge_channels": 0}, "are 8, 0 and 64"),
        ({"tcma_hidden": 0}, "are 8, 8 and 0"),
    ],
    ids=["no-patch", "patch", "image", "edge", "hidden"],
)
def test_sizes_of_tcma_that_make_no_sense(arguments, message):
    with pytest.raises(ValueError, match=message):
        S3Mamba(3, 2, **SMALL, **arguments)


@sweep
def test_feature_map_size_wants_the_networks_axes(name):
    with pytest.raises(ValueError, match=r"\(16, 16, 16\)"):
        small_network(name, 3, 2, STRIDES).compute_conv_feature_map_size((16, 16, 16))
