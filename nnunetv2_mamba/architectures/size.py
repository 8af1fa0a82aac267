"""How large a network is: its parameters, and the multiply-adds of one image."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Size
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from nnunetv2_mamba.architectures._contract import UShapedNetwork

SCAN_OPERATIONS = 4
"""Multiply-adds of a scan for each position, direction, channel and state; an exponential comes on top."""


def count_parameters(network: torch.nn.Module) -> int:
    """Number of trainable numbers of a network."""
    return sum(parameter.numel() for parameter in network.parameters())


def count_multiply_adds(network: UShapedNetwork, input_size: Sequence[int]) -> int:
    """Multiply-adds of the convolutions, matrix products and scans for one image; nothing is computed.

    Args:
        network: on the CPU; it is not changed.
        input_size: spatial size of the image; padding to the total stride is counted.
    """
    padded = [math.ceil(size / step) * step for size, step in zip(input_size, network.total_stride, strict=True)]
    ops = torch.ops.nnunetv2_mamba
    formulas = {ops.grid_scan: _scan, ops.causal_conv1d: _causal_convolution}
    with (
        FakeTensorMode(allow_non_fake_inputs=True),
        FlopCounterMode(display=False, custom_mapping=formulas) as counter,
        torch.no_grad(),
    ):
        network.decode(torch.empty(1, network.input_channels, *padded))
    # PyTorch counts a multiply-add as two operations.
    return counter.get_total_flops() // 2


def _scan(u: Size, delta: Size, A: Size, *_: Any, **__: Any) -> int:
    batch, length = delta[0], delta[-1]
    return 2 * SCAN_OPERATIONS * batch * length * A.numel()


def _causal_convolution(x: Size, weight: Size, *_: Any, **__: Any) -> int:
    return 2 * x.numel() * weight[-1]
