"""Sobel magnitude."""

import pytest
import torch
from torch import nn

from nnunetv2_mamba.building_blocks.sobel import SobelMagnitude


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


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_keeps_the_dtype_and_the_range_of_the_image(dtype):
    ramp = (1e3 * torch.arange(6.0)).expand(1, 1, 6, 6).to(dtype)
    edges = SobelMagnitude(1).to(dtype)(ramp)
    assert edges.dtype == dtype
    torch.testing.assert_close(edges[..., 1:-1], torch.full((1, 1, 6, 4), 1e3, dtype=dtype), rtol=0.01, atol=0)


def test_adds_nothing_to_the_state_dict():
    assert not SobelMagnitude(3).state_dict()
