"""CPU kernel of the scan: one direction of one sample, a range of channels; no state is ever written but at chunks.

A vector lane is a channel, so that no step needs a sum across lanes. LANES channels, CHUNK visits and STATES states are
taken at a time: these states stay in registers, all else in the L1 cache.
"""

import numpy as np
from numba import njit

from nnunetv2_mamba.ops.cpu.kernel import kernel
from nnunetv2_mamba.ops.cpu.lanes import LANES, load, load_at, splat_at, store, store_at
from nnunetv2_mamba.ops.cpu.math import exp2, sigmoid, softplus
from nnunetv2_mamba.ops.scan.contract import CHUNK
from nnunetv2_mamba.ops.scan.numba_tiles import STATES, aligned, consecutive, gather, interleave, padded, scatter

_TILES = 4
_U, _STEPS, _DRIVE, _Y = (tile * CHUNK for tile in range(_TILES))


@kernel
def scan_forward(
    u, delta, A2, B, C, D, bias, z, gated, use_softplus, order, begin, end, accumulate, y, states
):  # fmt: skip
    """Scan channels ``begin`` to ``end`` of one sample in one direction.

    Args:
        u: input (L, D).
        delta: step sizes (L, D).
        A2: state matrix times log2(e), transposed (N, D).
        B: (L, N).
        C: (L, N).
        D: skip weight (D,).
        bias: added to delta (D,).
        z: gate (L, D), not looked at unless ``gated``.
        gated: whether y is multiplied by silu(z).
        use_softplus: whether delta goes through softplus.
        order: positions in the order of their visits (L,).
        begin: first channel.
        end: channel after the last.
        accumulate: whether to add to y or to overwrite it.
        y: output (L, D).
        states: receives the state before each chunk (chunks, N, D); left alone where it has no chunks.
    """
    length, d_state = order.shape[0], A2.shape[0]
    A = padded(A2, begin, end)
    h = aligned(A.shape[0], A.shape[1])
    skip, bias_lanes = padded(D.reshape(1, -1), begin, end), padded(bias.reshape(1, -1), begin, end)
    tiles = aligned(_TILES * CHUNK, LANES)
    coefficients = np.zeros(2 * A.shape[0] * CHUNK, np.float32)
    for chunk in range((length + CHUNK - 1) // CHUNK):
        stop = min(chunk * CHUNK + CHUNK, length)
        visits, ahead = order[chunk * CHUNK : stop], order[stop : min(stop + CHUNK, length)]
        ascending = consecutive(visits)
        interleave(B, C, visits, coefficients)
        if states.shape[0]:
            states[chunk, :, begin:end] = h[:d_state, : end - begin]
        for first in range(begin, end, LANES):
            width, lane = min(LANES, end - first), first - begin
            gather(u, visits, ahead, ascending, first, width, tiles, _U)
            gather(delta, visits, ahead, ascending, first, width, tiles, _STEPS)
            _prepare(tiles, load_at(bias_lanes, 0, lane), load_at(skip, 0, lane), use_softplus)
            _advance(tiles, A, lane, coefficients, visits.shape[0], h)
            if gated:
                gather(z, visits, ahead, ascending, first, width, tiles, _U)
                _gate(tiles)
            scatter(tiles, _Y, visits, ascending, first, width, accumulate, y)


@njit
def _prepare(tiles, bias, skip, use_softplus):
    """Bias and softplus on the steps, what drives the state (step times input), and the skip as the output's start.

    Lanes beyond the channels have an input of zero and therefore no state; rows beyond the chunk are never read.
    """
    for t in range(CHUNK):
        step, u = load(tiles, _STEPS + t) + bias, load(tiles, _U + t)
        if use_softplus:
            step = softplus(step)
        store(tiles, _STEPS + t, step)
        store(tiles, _DRIVE + t, step * u)
        store(tiles, _Y + t, skip * u)


@njit
def _advance(tiles, A2, lane, coefficients, length, h):
    for n in range(0, A2.shape[0], STATES):
        a0, a1, a2, a3 = _four_rows(A2, n, lane)
        h0, h1, h2, h3 = _four_rows(h, n, lane)
        for t in range(length):
            step, drive, y = load(tiles, _STEPS + t), load(tiles, _DRIVE + t), load(tiles, _Y + t)
            b = 2 * (n * CHUNK + t * STATES)
            h0, y = _visit(step, drive, a0, coefficients, b, h0, y)
            h1, y = _visit(step, drive, a1, coefficients, b + 1, h1, y)
            h2, y = _visit(step, drive, a2, coefficients, b + 2, h2, y)
            h3, y = _visit(step, drive, a3, coefficients, b + 3, h3, y)
            store(tiles, _Y + t, y)
        store_at(h, n, lane, h0)
        store_at(h, n + 1, lane, h1)
        store_at(h, n + 2, lane, h2)
        store_at(h, n + 3, lane, h3)


@njit
def _four_rows(matrix, row, lane):
    return (
        load_at(matrix, row, lane),
        load_at(matrix, row + 1, lane),
        load_at(matrix, row + 2, lane),
        load_at(matrix, row + 3, lane),
    )


@njit
def _visit(step, drive, exponent, coefficients, b, h, y):
    h = exp2(step * exponent) * h + drive * splat_at(coefficients, b)
    return h, y + splat_at(coefficients, b + STATES) * h


@njit
def _gate(tiles):
    """Multiply y by silu(z); z lies where u was."""
    for t in range(CHUNK):
        z = load(tiles, _U + t)
        store(tiles, _Y + t, load(tiles, _Y + t) * (z * sigmoid(z)))
