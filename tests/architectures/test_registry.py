"""Networks state their own facts, and one that does not is refused by the name of its file."""

from typing import ClassVar

import pytest
from torch import nn

from nnunetv2_mamba.architectures import S3Mamba, SegMamba, VMUNet
from nnunetv2_mamba.architectures._contract import UShapedNetwork
from nnunetv2_mamba.architectures.publication import Publication
from nnunetv2_mamba.architectures.registry import NETWORKS, dotted_name, find_network, register
from nnunetv2_mamba.architectures.size import SCAN_OPERATIONS, count_multiply_adds, count_parameters
from nnunetv2_mamba.plans.architecture import mamba_architecture

PLANNED = {"strides": [[1, 1], [2, 2], [2, 2], [2, 2]], "conv_op": "torch.nn.modules.conv.Conv2d"}


@pytest.fixture(autouse=True)
def _registry_as_before():
    before = dict(NETWORKS)
    yield
    NETWORKS.clear()
    NETWORKS.update(before)


class WithoutFacts(UShapedNetwork):
    pass


class WithoutPlan(UShapedNetwork):
    publication: ClassVar = Publication("A paper", "arXiv 0000.00000")


@pytest.mark.parametrize(
    ("network", "missing"), [(WithoutFacts, "from_plan and publication"), (WithoutPlan, "from_plan")]
)
def test_a_network_without_facts_is_refused_by_file_and_fact(network, missing):
    wanted = rf"test_registry\.py: the network {network.__name__} does not state {missing};"
    with pytest.raises(TypeError, match=wanted):
        register(network)
    assert network.__name__ not in NETWORKS


def test_two_networks_of_one_name_are_refused():
    twin = type("SegMamba", (SegMamba,), {})
    with pytest.raises(ValueError, match=r"two networks SegMamba, nnunetv2_mamba\.architectures\.SegMamba and tests"):
        register(twin)
    assert NETWORKS["SegMamba"] is SegMamba


@pytest.mark.parametrize("name", ["S3Mamba", "nnunetv2_mamba.architectures.S3Mamba"])
def test_a_network_is_found_by_either_name(name):
    assert find_network(name) is S3Mamba
    assert dotted_name(S3Mamba) == "nnunetv2_mamba.architectures.S3Mamba"


@pytest.mark.parametrize("name", ["UNETR", "nnunetv2_mamba.architectures.UNETR", "json.S3Mamba"])
def test_an_unknown_network_is_answered_with_the_known_ones(name):
    with pytest.raises(ValueError, match=rf"^unknown network {name}: choose one of .*VMUNet"):
        find_network(name)


def test_a_module_that_cannot_be_imported_is_named():
    with pytest.raises(ValueError, match=r"^the network no_such_module\.Net cannot be imported"):
        find_network("no_such_module.Net")


def test_a_plan_of_another_dimension_is_refused():
    @register
    class FlatOnly(VMUNet):
        dimensions: ClassVar = (2,)

    volume = {"strides": [[1, 1, 1], [2, 2, 2]], "conv_op": "torch.nn.modules.conv.Conv3d"}
    with pytest.raises(ValueError, match="FlatOnly is a network for 2D and this configuration is 3D"):
        mamba_architecture({"architecture": {"network_class_name": "other.Net", "arch_kwargs": volume}}, "FlatOnly")


def test_multiply_adds_are_those_of_a_count_by_hand():
    """One level of tokens of 2x2 pixels: embedding, one encoder block, one decoder block, expansion, head."""
    width, states, tokens = 4, 2, 16
    network = VMUNet(1, 3, features_per_stage=(width,), strides=(1, 2), n_blocks_per_stage=1,
                     n_blocks_per_stage_decoder=1, d_state=states)  # fmt: skip
    inner, rank, directions = 2 * width, 1, 4
    block = width * 2 * inner + 9 * inner + inner * width
    block += directions * (inner * (rank + 2 * states) + rank * inner + SCAN_OPERATIONS * inner * states)
    expansion, pixels = width * 4 * 4, 4 * tokens
    by_hand = tokens * (4 * width + 2 * block + expansion) + pixels * 4 * 3
    assert count_multiply_adds(network, (8, 8)) == by_hand


def test_counting_changes_nothing_and_counts_the_padding():
    network = SegMamba(2, 3, features_per_stage=(4, 8), strides=(1, 2))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert count_multiply_adds(network, (7, 8)) == count_multiply_adds(network, (8, 8))
    assert all(tensor.equal(before[name]) for name, tensor in network.state_dict().items())
    assert count_parameters(nn.Linear(3, 2)) == 8
