"""The pure functions between nnU-Net's plans and our constructor arguments."""

import json

import pytest
import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

from nnunetv2_mamba import plugin
from nnunetv2_mamba.architectures import VMUNet
from nnunetv2_mamba.architectures.registry import NETWORKS
from nnunetv2_mamba.plans.architecture import deep_supervision_scales, mamba_architecture, token_size
from tests.architectures.small_networks import small_overrides

CONV2D = "torch.nn.modules.conv.Conv2d"
CONV3D = "torch.nn.modules.conv.Conv3d"


def unet(strides: list[list[int]], conv_op: str = CONV2D) -> dict:
    return {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {
            "n_stages": len(strides),
            "features_per_stage": [min(32 * 2**stage, 512) for stage in range(len(strides))],
            "kernel_sizes": [[3] * len(strides[0])] * len(strides),
            "strides": strides,
            "conv_op": conv_op,
            "norm_op": "a.norm",
        },
        "_kw_requires_import": ["conv_op", "norm_op"],
    }


def planned(strides: list[list[int]], conv_op: str = CONV2D, **entries) -> dict:
    return {"architecture": unet(strides, conv_op), **entries}


def isotropic(n_stages: int) -> list[list[int]]:
    return [[1, 1]] + [[2, 2]] * (n_stages - 1)


def test_six_stages_give_the_published_network():
    assert VMUNet.from_plan(planned(isotropic(6)), side_heads=False) == {
        "features_per_stage": [96, 192, 384, 768],
        "strides": [[1, 1], [4, 4], [2, 2], [2, 2], [2, 2]],
        "n_blocks_per_stage": [2, 2, 2, 2],
        "n_blocks_per_stage_decoder": [2, 2, 2, 1],
        "conv_op": CONV2D,
        "side_heads": False,
    }


@pytest.mark.parametrize(
    ("n_stages", "patch_embed", "n_levels"),
    [(1, 1, 1), (2, 2, 1), (3, 4, 1), (4, 4, 2), (5, 4, 3), (6, 4, 4), (8, 4, 4)],
)
def test_number_of_levels_follows_the_plan(n_stages, patch_embed, n_levels):
    kwargs = VMUNet.from_plan(planned(isotropic(n_stages)))
    assert kwargs["strides"][:2] == [[1, 1], [patch_embed, patch_embed]]
    assert [len(kwargs[key]) for key in ("features_per_stage", "n_blocks_per_stage", "n_blocks_per_stage_decoder")] == [
        n_levels
    ] * 3
    assert kwargs["n_blocks_per_stage_decoder"][-1] == 1


def test_anisotropic_strides_stay_anisotropic():
    strides = [[1, 1, 1], [1, 2, 2], [2, 2, 2], [2, 2, 2], [1, 2, 2]]
    kwargs = VMUNet.from_plan(planned(strides, CONV3D))
    assert kwargs["strides"] == [[1, 1, 1], [2, 4, 4], [2, 2, 2], [1, 2, 2]]
    assert kwargs["conv_op"] == CONV3D


def test_a_plan_whose_first_stage_downsamples():
    assert VMUNet.from_plan(planned([[2, 2], [2, 2]]))["strides"] == [[1, 1], [4, 4]]


def test_scales_are_those_of_the_outputs():
    architecture = mamba_architecture(planned(isotropic(7)), "S3Mamba")
    assert deep_supervision_scales(architecture) == [[1, 1], [0.25, 0.25], [0.125, 0.125], [0.0625, 0.0625]]


@pytest.mark.parametrize("network", NETWORKS)
def test_result_survives_json_and_needs_only_conv_op_imported(network):
    architecture = mamba_architecture(planned(isotropic(6)), network)
    assert json.loads(json.dumps(architecture)) == architecture
    assert architecture["network_class_name"] == f"nnunetv2_mamba.architectures.{network}"
    assert architecture["_kw_requires_import"] == ["conv_op"]


def test_only_vmunet_needs_side_heads():
    assert mamba_architecture(planned(isotropic(6)), "VMUNet")["arch_kwargs"]["side_heads"] is True
    assert "side_heads" not in mamba_architecture(planned(isotropic(6)), "S3Mamba")["arch_kwargs"]


def test_overrides_reach_the_network():
    kwargs = mamba_architecture(planned(isotropic(4)), "S3Mamba", features_per_stage=(8, 16, 24), reduction=4)[
        "arch_kwargs"
    ]
    assert kwargs["features_per_stage"] == [8, 16]
    assert kwargs["reduction"] == 4


@pytest.mark.parametrize(("conv_op", "spacing"), [(CONV2D, [0.8, 0.7]), (CONV3D, [5.0, 0.8, 0.7])], ids=["2d", "3d"])
def test_only_s3mamba_gets_the_spacing(conv_op, spacing):
    strides = [[1] * len(spacing)] + [[2] * len(spacing)] * 3
    configuration = planned(strides, conv_op, spacing=spacing)
    assert mamba_architecture(configuration, "S3Mamba")["arch_kwargs"]["spacing"] == spacing
    assert mamba_architecture(configuration, "S3Mamba", spacing=None)["arch_kwargs"]["spacing"] is None
    assert "spacing" not in mamba_architecture(configuration, "VMUNet")["arch_kwargs"]


def test_without_a_spacing_voxels_are_isotropic():
    assert mamba_architecture(planned(isotropic(4)), "S3Mamba")["arch_kwargs"]["spacing"] is None


def test_our_own_architecture_is_left_as_it_is():
    edited = mamba_architecture(planned(isotropic(6)), "S3Mamba", d_state=8)
    assert mamba_architecture({"architecture": edited, "spacing": [1, 2]}, "S3Mamba", d_state=4) == edited


@pytest.mark.parametrize(("named", "wanted"), [("S3Mamba", "VMUNet"), ("VMUNet", "S3Mamba")])
def test_another_network_of_ours_is_refused(named, wanted):
    architecture = mamba_architecture(planned(isotropic(6)), named)
    refusal = rf"^the plans name {named} already, and {wanted} cannot be derived from it: use plans of nnU-Net.*\.$"
    with pytest.raises(ValueError, match=refusal):
        mamba_architecture({"architecture": architecture}, wanted)


def test_every_network_has_a_trainer():
    assert {f"nnUNetTrainer{network}" for network in NETWORKS} <= set(plugin.trainer_names())


@pytest.mark.parametrize("name", NETWORKS)
def test_nnunet_builds_the_network_of_that_name(name):
    architecture = mamba_architecture(planned(isotropic(4)), name, **small_overrides(name, (8, 16), d_state=1))
    network = get_network_from_plans(
        architecture["network_class_name"],
        architecture["arch_kwargs"],
        architecture["_kw_requires_import"],
        1,
        2,
        deep_supervision=True,
    )
    assert type(network) is NETWORKS[name]


def test_sizes_of_tcma_can_be_planned():
    sizes = {"tcma_patches": [3, 5], "tcma_image_channels": 2, "tcma_edge_channels": 3, "tcma_hidden": 6}
    architecture = mamba_architecture(planned(isotropic(4)), "S3Mamba", features_per_stage=(8, 16), d_state=1, **sizes)
    saved = json.loads(json.dumps(architecture))
    network = get_network_from_plans(
        saved["network_class_name"], saved["arch_kwargs"], saved["_kw_requires_import"], 1, 2, False
    )
    tcma = network.decoder.tcma
    assert tcma.image_stem[0].out_channels == 2
    assert tcma.edge_stem[1].out_channels == 3
    for level in tcma.seg_layers:
        assert [scale.patch for scale in level.scales] == [3, 5]
        assert {(scale.fc1.in_features, scale.fc1.out_features) for scale in level.scales} == {(2 + 2 + 3, 6)}
        assert {scale.fc2.out_features for scale in level.scales} == {2 * 3}
    assert network(torch.randn(1, 1, 32, 32)).shape == (1, 2, 32, 32)


def test_segmamba_has_the_stages_of_the_plan():
    strides = [[1, 1, 1], [1, 2, 2], [2, 2, 2], [2, 2, 2]]
    configuration = planned(strides, CONV3D)
    configuration["architecture"]["arch_kwargs"] |= {
        "features_per_stage": (32, 64, 128, 320),
        "kernel_sizes": [[1, 3, 3], [3, 3, 3], [3, 3, 3], [3, 3, 3]],
        "n_conv_per_stage": [1, 3, 4, 6],
    }
    kwargs = mamba_architecture(configuration, "SegMamba")["arch_kwargs"]
    assert kwargs == {
        "features_per_stage": [32, 64, 128, 320],
        "strides": strides,
        "kernel_sizes": [[1, 3, 3], [3, 3, 3], [3, 3, 3], [3, 3, 3]],
        "n_blocks_per_stage": 2,
        "n_blocks_per_stage_decoder": 2,
        "conv_op": CONV3D,
    }
    assert deep_supervision_scales({"arch_kwargs": kwargs}) == [[1, 1, 1], [1, 0.5, 0.5], [0.5, 0.25, 0.25]]


def test_fewer_widths_make_a_segmamba_of_fewer_stages():
    kwargs = mamba_architecture(planned(isotropic(6)), "SegMamba", features_per_stage=(8, 16, 24))["arch_kwargs"]
    assert (kwargs["features_per_stage"], kwargs["strides"]) == ([8, 16, 24], [[1, 1], [2, 2], [2, 2]])
    assert len(kwargs["kernel_sizes"]) == 3


@pytest.mark.parametrize("key", ["features_per_stage", "strides", "kernel_sizes", "conv_op"])
def test_segmamba_names_what_a_plan_lacks(key):
    configuration = planned(isotropic(6))
    del configuration["architecture"]["arch_kwargs"][key]
    with pytest.raises(ValueError, match=f"^the plan's arch_kwargs lack {key}, which"):
        mamba_architecture(configuration, "SegMamba")


def test_unknown_network_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown network UNETR: choose one of .*S3Mamba, .*SegMamba"):
        mamba_architecture(planned(isotropic(6)), "UNETR")


def test_architecture_without_strides_is_named():
    with pytest.raises(ValueError, match="lack strides, which our networks are derived from"):
        VMUNet.from_plan({"architecture": {"arch_kwargs": {"conv_op": CONV2D}}})


@pytest.mark.parametrize(
    ("network", "expected"),
    [("VMUNet", [2, 4, 4]), ("S3Mamba", [2, 4, 4]), ("SAUMamba", [2, 4, 4]), ("SegMamba", [1, 1, 1])],
)
def test_each_network_knows_how_many_voxels_its_first_layer_joins(network, expected):
    strides = [[1, 1, 1], [1, 2, 2], [2, 2, 2], [2, 2, 2]]
    assert token_size(mamba_architecture(planned(strides, CONV3D), network)) == expected


@pytest.mark.parametrize("strides", [[[1, 1], [2, 2]], [[2, 2], [2, 2]]])
def test_a_network_of_nnunet_joins_what_its_first_stride_says(strides):
    assert token_size(unet(strides)) == strides[0]
