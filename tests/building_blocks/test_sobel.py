"""Sobel magnitude."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from nnunetv2_mamba.building_blocks.sobel import SobelMagnitude

CONV_OPS = {2: nn.Conv2d, 3: nn.Conv3d}
SPACINGS = st.integers(2, 3).flatmap(lambda ndim: st.tuples(*[st.floats(0.2, 8)] * ndim))


@pytest.mark.parametrize(("conv_op", "ndim"), [(nn.Conv2d, 2), (nn.Conv3d, 3)], ids=["2d", "3d"])
def test_ramps_give_their_slope(conv_op, ndim):
    axes = torch.meshgrid(*[torch.arange(6.0)] * ndim, indexing="ij")
    slopes = torch.arange(1.0, ndim + 1)
    ramp = sum(slope * axis for slope, axis in zip(slopes, axes, strict=True))
    constant = torch.full_like(ramp, 7)
    edges = SobelMagnitude(2, conv_op)(torch.stack([ramp, constant])[None])[0]
    inside = (slice(1, -1),) * ndim
    torch.testing.assert_close(edges[0][inside], torch.full((4,) * ndim, float(slopes.norm())))
    torch.testing.assert_close(edges[1], torch.full((6,) * ndim, 1e-3))


def test_a_one_hot_channel_gives_the_boundary_of_its_label():
    """As a cascade's extra channels do: nothing inside and outside, at the boundary no more than the image's edges."""
    label = torch.zeros(1, 1, 9, 12, 12)
    label[..., 3:7, 4:9, 4:9] = 1
    edges = SobelMagnitude(1, nn.Conv3d, (3, 1, 1))(label)
    around = nn.functional.max_pool3d(label, 3, 1, 1)
    inside = 1 - nn.functional.max_pool3d(1 - label, 3, 1, 1)
    assert torch.equal(edges > 2e-3, around > inside)
    assert edges.max() < 1


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_keeps_the_dtype_and_the_range_of_the_image(dtype):
    ramp = (1e3 * torch.arange(6.0)).expand(1, 1, 6, 6).to(dtype)
    edges = SobelMagnitude(1).to(dtype)(ramp)
    assert edges.dtype == dtype
    torch.testing.assert_close(edges[..., 1:-1], torch.full((1, 1, 6, 4), 1e3, dtype=dtype), rtol=0.01, atol=0)


def test_adds_nothing_to_the_state_dict():
    assert not SobelMagnitude(3).state_dict()


@given(spacing=SPACINGS, seed=st.integers(0, 2**31))
def test_a_quadratic_in_mm_gives_its_gradient_in_mm_on_any_grid(spacing, seed):
    """Central differences are exact for these, smoothing leaves their linear gradient as it is."""
    ndim, generator = len(spacing), torch.Generator().manual_seed(seed)
    lengths = torch.tensor(spacing, dtype=torch.float64)
    curvature, slope = (torch.randn(*shape, generator=generator).double() for shape in ((ndim, ndim), (ndim,)))
    curvature = curvature + curvature.T
    indices = torch.stack(torch.meshgrid(*[torch.arange(5.0).double()] * ndim, indexing="ij"), -1)
    position = indices * lengths
    image = (position @ curvature * position).sum(-1) / 2 + position @ slope
    edges = SobelMagnitude(1, CONV_OPS[ndim], spacing).double()(image[None, None])[0, 0]
    gradient = (position @ curvature + slope).square().sum(-1)
    inside = (slice(1, -1),) * ndim
    expected = torch.sqrt(gradient * min(spacing) ** 2 + 1e-6)
    torch.testing.assert_close(edges[inside], expected[inside], rtol=1e-5, atol=1e-6)


@given(spacing=SPACINGS, factor=st.floats(1e-3, 1e3))
def test_the_unit_of_the_spacing_does_not_matter(spacing, factor):
    conv_op = CONV_OPS[len(spacing)]
    image = torch.randn(1, 2, *[6] * len(spacing), generator=torch.Generator().manual_seed(0))
    in_mm, otherwise = (SobelMagnitude(2, conv_op, [f * length for length in spacing]) for f in (1, factor))
    torch.testing.assert_close(otherwise(image), in_mm(image))


@pytest.mark.parametrize("spacing", [(1, 1), (0.7, 0.7), (0.1, 0.1, 0.1)], ids=str)
def test_isotropic_voxels_are_the_same_as_no_spacing(spacing):
    conv_op = CONV_OPS[len(spacing)]
    assert torch.equal(SobelMagnitude(3, conv_op, spacing).kernels, SobelMagnitude(3, conv_op).kernels)


@pytest.mark.parametrize(
    "spacing", [(1, 1), (1, 1, 1, 1), (3, 0, 1), (3, -1, 1), (float("nan"), 1, 1), (float("inf"), 1, 1)], ids=str
)
def test_a_spacing_that_makes_no_sense_is_named(spacing):
    with pytest.raises(ValueError, match=rf"spacing is \[{spacing[0]}, .*\]; give one positive number for .* 3 axes"):
        SobelMagnitude(1, nn.Conv3d, spacing)
