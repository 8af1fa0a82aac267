"""Convolutions on tokens."""

import pytest
import torch
from torch import nn

from nnunetv2_mamba.building_blocks.layout import channels_first, channels_last, pointwise


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("conv_op", "spatial"), [(nn.Conv2d, (3, 4)), (nn.Conv3d, (2, 3, 4))], ids=["2d", "3d"])
def test_pointwise_is_the_convolution(conv_op, spatial, bias):
    torch.manual_seed(0)
    convolution, tokens = conv_op(5, 7, 1, bias=bias).double(), torch.randn(2, *spatial, 5, dtype=torch.float64)
    expected = channels_last(convolution(channels_first(tokens)))
    torch.testing.assert_close(pointwise(convolution, tokens), expected)
