"""CPU kernels of the causal convolution: a vector lane is a channel, and rows are read from memory once."""

import numpy as np
from numba import njit

from nnunetv2_mamba.ops.cpu.kernel import kernel
from nnunetv2_mamba.ops.cpu.lanes import LANES, aligned, load_at, splat, store_at
from nnunetv2_mamba.ops.cpu.math import sigmoid

ROWS = 32
"""Rows that the backward pass works on at a time, so that what it computes again stays in the cache."""


@kernel
def filter_forward(x, taps, start, activation, begin, end, y):
    """Filter rows ``begin`` to ``end`` of one sample.

    Args:
        x: input (L, D), D a multiple of LANES.
        taps: filter (W, D), the last one for the row itself.
        start: bias (1, D).
        activation: whether SiLU follows.
        begin: first row.
        end: row after the last.
        y: output (L, D).
    """
    for t in range(begin, end):
        for first in range(0, x.shape[1], LANES):
            value = _filtered(x, taps, start, t, first)
            if activation:
                value = value * sigmoid(value)
            store_at(y, t, first, value)


@kernel
def filter_backward(dy, x, taps, start, activation, begin, end, dx, sums):
    """Gradients of rows ``begin`` to ``end`` of one sample.

    Args:
        dy: gradient of the output (L, D).
        x: as in `filter_forward`.
        taps: as in `filter_forward`.
        start: as in `filter_forward`.
        activation: as in `filter_forward`.
        begin: first row.
        end: row after the last.
        dx: gradient of the input (L, D).
        sums: what these rows add to the gradients of the taps and, last, of the bias (W + 1, D).
    """
    length, width = x.shape[0], taps.shape[0]
    slopes = aligned(ROWS + width - 1, x.shape[1])
    for low in range(begin, end, ROWS):
        high = min(low + ROWS, end)
        # The rows that follow depend on these; they are computed here too, and summed up where they belong.
        reach = min(high + width - 1, length)
        for t in range(low, reach):
            for first in range(0, x.shape[1], LANES):
                slope = load_at(dy, t, first)
                if activation:
                    slope = slope * _silu_slope(_filtered(x, taps, start, t, first))
                store_at(slopes, t - low, first, slope)
        for first in range(0, x.shape[1], LANES):
            for t in range(low, high):
                value = splat(np.float32(0))
                for w in range(max(0, width - reach + t), width):
                    value = value + load_at(taps, w, first) * load_at(slopes, t - low + width - 1 - w, first)
                store_at(dx, t, first, value)
            for w in range(width):
                total = load_at(sums, w, first)
                for t in range(max(low, width - 1 - w), high):
                    total = total + load_at(slopes, t - low, first) * load_at(x, t - width + 1 + w, first)
                store_at(sums, w, first, total)
            total = load_at(sums, width, first)
            for t in range(low, high):
                total = total + load_at(slopes, t - low, first)
            store_at(sums, width, first, total)


@njit
def _filtered(x, taps, start, t, first):
    width = taps.shape[0]
    value = load_at(start, 0, first)
    for w in range(max(0, width - 1 - t), width):
        value = value + load_at(taps, w, first) * load_at(x, t - width + 1 + w, first)
    return value


@njit
def _silu_slope(z):
    gate = sigmoid(z)
    return gate + z * gate * (splat(np.float32(1)) - gate)
