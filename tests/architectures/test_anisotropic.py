"""3-D networks on plans whose axes differ: nnU-Net's own rules for strides, thin patches, and the voxel spacing."""

import pytest
import torch
from batchgeneratorsv2.transforms.utils.deep_supervision_downsampling import DownsampleSegForDSTransform
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from nnunetv2.experiment_planning.experiment_planners.network_topology import get_pool_and_conv_props
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from torch import nn

from nnunetv2_mamba.architectures import S3Mamba
from nnunetv2_mamba.plans.architecture import deep_supervision_scales, mamba_architecture
from tests.architectures.small_networks import FINE, network_class, small_overrides, sweep


def configuration(strides: list[list[int]], kernel_sizes: list[list[int]], spacing: tuple[float, ...]) -> dict:
    arch_kwargs = {
        "features_per_stage": [min(32 * 2**stage, 320) for stage in range(len(strides))],
        "strides": strides,
        "kernel_sizes": kernel_sizes,
        "conv_op": "torch.nn.modules.conv.Conv3d",
    }
    return {"architecture": {"network_class_name": "unet", "arch_kwargs": arch_kwargs}, "spacing": list(spacing)}


def check_network(
    name: str,
    strides: list[list[int]],
    kernel_sizes: list[list[int]],
    spacing: tuple[float, ...],
    patch_size: tuple[int, ...],
) -> None:
    """Build the planned network; its outputs fit nnU-Net's targets, and every parameter gets a finite gradient."""
    tiny = small_overrides(name, widths=(4, 8, 8, 8), d_state=1)
    planned = mamba_architecture(configuration(strides, kernel_sizes, spacing), network_class(name).__name__, **tiny)
    # As the trainers do: with a single output there is nothing to supervise deeply.
    scales = deep_supervision_scales(planned)
    network = get_network_from_plans(
        planned["network_class_name"],
        planned["arch_kwargs"],
        planned["_kw_requires_import"],
        1,
        2,
        deep_supervision=len(scales) > 1,
    )
    outputs = network(torch.randn(2, 1, *patch_size, generator=torch.Generator().manual_seed(0)))
    outputs = outputs if len(scales) > 1 else [outputs]
    targets = DownsampleSegForDSTransform(scales or [[1, 1, 1]])(segmentation=torch.zeros(1, *patch_size))
    targets = targets["segmentation"]
    assert [output.shape[2:] for output in outputs] == [target.shape[1:] for target in targets]
    sum(output.square().mean() for output in outputs).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@sweep
@pytest.mark.parametrize(
    ("strides", "spacing", "patch_size"),
    [
        pytest.param(
            [[1, 1, 1], [1, 2, 2], [1, 2, 2], [2, 2, 2], [2, 2, 2], [1, 2, 2]],
            (10, 1.56, 1.56),
            (12, 64, 48),
            id="cardiac",
        ),
        pytest.param([[1, 1, 1], [2, 2, 2], [2, 2, 2], [2, 2, 2]], (1, 1, 1), (40, 56, 40), id="hippocampus"),
        pytest.param([[1, 1, 1], [2, 1, 2], [2, 1, 2], [2, 1, 2], [2, 2, 2]], (1, 6, 1), (32, 10, 40), id="coronal"),
        pytest.param([[1, 1, 1], [1, 1, 2], [1, 2, 1], [2, 1, 1], [1, 1, 2]], (2, 2, 1), (10, 12, 17), id="one-by-one"),
        pytest.param([[1, 1, 1], [1, 2, 2], [1, 2, 2], [1, 2, 2]], (8, 1, 1), (1, 32, 40), id="single-slice"),
    ],
)
def test_networks_of_anisotropic_plans(name, strides, spacing, patch_size):
    check_network(name, strides, [[3, 3, 3]] * len(strides), spacing, patch_size)


@sweep
@settings(max_examples=15)
@given(data=st.data())
def test_networks_of_what_nnunets_rules_give(name, data):
    """Any spacing and field of view, planned as nnU-Net plans them."""
    spacing = data.draw(st.tuples(*[st.sampled_from([0.5, 1.0, 2.5, 6.0])] * 3))
    millimetres = data.draw(st.tuples(*[st.integers(12, 60)] * 3))
    wanted = [max(4, round(size / length)) for size, length in zip(millimetres, spacing, strict=True)]
    assume(torch.tensor(wanted).prod() <= 60_000)
    _, strides, kernel_sizes, patch_size, _ = get_pool_and_conv_props(spacing, wanted, 4, 999_999)
    assume(torch.tensor(patch_size).prod() <= 60_000)
    strides, kernel_sizes = ([list(map(int, entry)) for entry in entries] for entries in (strides, kernel_sizes))
    assume(len(strides) > 1 or not name.endswith(FINE))
    check_network(name, strides, kernel_sizes, spacing, tuple(map(int, patch_size)))


def s3mamba(spacing: tuple[float, ...] | None) -> S3Mamba:
    torch.manual_seed(0)
    strides = ((1, 1, 1), (1, 4, 4), (2, 2, 2))
    blocks = {"n_blocks_per_stage": 1, "n_blocks_per_stage_decoder": 1, "d_state": 1}
    network = S3Mamba(2, 3, (4, 8), strides, conv_op=nn.Conv3d, **blocks, spacing=spacing, deep_supervision=True)
    return network.eval()


def masks(spacing: tuple[float, ...] | None) -> list[torch.Tensor]:
    """Side outputs, which TCMA makes; the logits of a new network do not know it yet."""
    with torch.no_grad():
        return s3mamba(spacing)(torch.randn(1, 2, 4, 16, 24, generator=torch.Generator().manual_seed(0)))[1:]


def test_only_the_ratio_of_the_spacing_matters():
    isotropic, anisotropic = masks(None), masks((5, 1, 1))
    assert all(torch.equal(*pair) for pair in zip(masks((0.8, 0.8, 0.8)), isotropic, strict=True))
    assert all(torch.equal(*pair) for pair in zip(masks((10, 2, 2)), anisotropic, strict=True))
    assert all((a - b).abs().max() > 1e-4 * b.abs().max() for a, b in zip(anisotropic, isotropic, strict=True))


def test_the_spacing_adds_nothing_to_a_checkpoint():
    anisotropic, isotropic = s3mamba((5, 1, 1)), s3mamba(None)
    isotropic.load_state_dict(anisotropic.state_dict())
    assert str(anisotropic) == str(isotropic)


@pytest.mark.parametrize("spacing", [(1, 1), (1, 0, 1), (1, -2, 1)], ids=str)
def test_a_wrong_spacing_is_one_sentence(spacing):
    with pytest.raises(ValueError, match=r"^the spacing is \[.*\]; give one positive number for each of the 3 axes$"):
        s3mamba(spacing)
