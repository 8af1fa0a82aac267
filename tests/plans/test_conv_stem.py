"""Which stages of a plan a network with a convolutional stem takes over, and which get blocks."""

import logging

import pytest
from torch import nn

from nnunetv2_mamba.architectures import S3Mamba, VMUNet
from nnunetv2_mamba.plans.architecture import deep_supervision_scales, mamba_architecture, token_size

WIDTHS = [32, 64, 128, 256, 512, 512, 512]


def planned(strides, kernel_sizes=None, widths=WIDTHS):
    conv_op = f"torch.nn.modules.conv.Conv{len(strides[0])}d"
    kernel_sizes = kernel_sizes or [[3] * len(strides[0])] * len(strides)
    arguments = {"strides": strides, "kernel_sizes": kernel_sizes, "conv_op": conv_op}
    arguments |= {"features_per_stage": widths[: len(strides)]}
    return {"architecture": {"network_class_name": "dynamic_network_architectures.unet", "arch_kwargs": arguments}}


def isotropic(n_stages, ndim=2):
    return [[1] * ndim, *[[2] * ndim] * (n_stages - 1)]


@pytest.mark.parametrize(
    ("strides", "conv_stages", "widths"),
    [
        pytest.param(isotropic(6), 2, [32, 64, 64, 128, 256, 512], id="six stages"),
        pytest.param(isotropic(8), 2, [32, 64, 64, 128, 256, 512], id="as many stages as there are widths"),
        pytest.param(isotropic(3), 2, [32, 64, 64], id="blocks at stride 4 only"),
        pytest.param(isotropic(2), 1, [32, 64], id="blocks in the coarsest stage of a short plan"),
        pytest.param([[1, 1, 1], [1, 2, 2], [1, 2, 2], [2, 2, 2]], 2, [32, 64, 64, 128], id="thick slices"),
        pytest.param([[1, 1], [4, 4], [2, 2]], 1, [32, 64, 128], id="a stride of 4 at once"),
        pytest.param([[1, 1, 1], [1, 1, 2], [1, 2, 1], [2, 1, 2]], 3, [32, 64, 128, 64], id="one axis at a time"),
    ],
)
def test_blocks_start_at_stride_4(strides, conv_stages, widths):
    architecture = mamba_architecture(planned(strides), "VMUNet", stem="conv")
    arguments = architecture["arch_kwargs"]
    assert arguments["conv_stages"] == conv_stages
    assert arguments["features_per_stage"] == widths
    assert arguments["strides"] == strides[: len(widths)]
    assert len(deep_supervision_scales(architecture)) == len(widths) - 1
    assert token_size(architecture) == [1] * len(strides[0])


def test_convolutions_have_the_kernels_of_the_plan():
    strides, kernels = [[1, 1, 1], [1, 2, 2], [2, 2, 2]], [[1, 3, 3], [1, 3, 3], [3, 3, 3]]
    arguments = VMUNet.from_plan(planned(strides, kernels), stem="conv", features_per_stage=(4, 6, 8), d_state=1)
    network = VMUNet(1, 2, **arguments | {"conv_op": nn.Conv3d})
    assert [stage[-1].conv.kernel_size for stage in network.encoder.stem.stages] == [(1, 3, 3), (1, 3, 3)]
    assert [stage.blocks[0].conv.kernel_size for stage in network.decoder.conv_stages] == [(1, 3, 3), (1, 3, 3)]


@pytest.mark.parametrize("conv_stages", [1, 3])
def test_how_many_stages_are_convolutional_is_an_argument(conv_stages):
    arguments = S3Mamba.from_plan(planned(isotropic(6)), stem="conv", conv_stages=conv_stages)
    assert arguments["conv_stages"] == conv_stages
    assert arguments["features_per_stage"] == [*WIDTHS[:conv_stages], 64, 128, 256, 512][:6]


def test_a_plan_with_too_few_stages_gets_fewer_convolutional_ones(caplog):
    with caplog.at_level(logging.WARNING):
        arguments = VMUNet.from_plan(planned(isotropic(3)), stem="conv", conv_stages=4)
    assert arguments["conv_stages"] == 2
    assert "the network has 3 stages, so 2 of them are convolutional and not 4" in caplog.text


def test_a_plan_of_one_stage_has_no_room_for_both():
    with pytest.raises(ValueError, match=r"^the plan has one stage and stem='conv' needs two"):
        VMUNet.from_plan(planned(isotropic(1)), stem="conv")


@pytest.mark.parametrize("network", [VMUNet, S3Mamba])
def test_an_unknown_stem_is_one_sentence(network):
    with pytest.raises(ValueError, match=r"^stem is 'convolution'; use one of 'patch', 'conv'$"):
        network(3, 2, stem="convolution")


@pytest.mark.parametrize("conv_stages", [0, 3])
def test_the_blocks_need_a_stage(conv_stages):
    sentence = rf"^conv_stages is {conv_stages} and the network has 3 stages"
    with pytest.raises(ValueError, match=sentence):
        VMUNet(3, 2, (4, 8, 12), (1, 2, 2), 1, 1, stem="conv", conv_stages=conv_stages)
