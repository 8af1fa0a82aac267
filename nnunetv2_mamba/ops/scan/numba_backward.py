"""CPU kernel of the scan's gradients: recomputed chunk by chunk from the saved states, last chunk first.

Lanes, tiles and chunks are those of the forward kernel; two states are taken at a time. Sums over channels (dB, dC)
stay folded to half a vector until all channels of a chunk have added to them.
"""

import numpy as np
from numba import njit

from nnunetv2_mamba.ops.cpu.kernel import kernel
from nnunetv2_mamba.ops.cpu.lanes import (
    LANES,
    add_folded,
    half_total,
    load,
    load_at,
    splat,
    splat_at,
    store,
    store_at,
)
from nnunetv2_mamba.ops.cpu.math import LOG2E, exp2, sigmoid, softplus_and_slope
from nnunetv2_mamba.ops.scan.contract import CHUNK
from nnunetv2_mamba.ops.scan.numba_tiles import STATES, aligned, consecutive, gather, interleave, padded, scatter

_TILES = 13
_U, _STEPS, _SLOPES, _DRIVE, _DY, _DU, _DDELTA, _Z, _DZ, _DECAY, _DECAY1, _DECAYED, _DECAYED1 = (
    tile * CHUNK for tile in range(_TILES)
)


@kernel
def scan_backward(
    dy, states, u, delta, A, B, C, D, bias, z, gated, use_softplus, order, begin, end, accumulate,
    du, ddelta, dA, dB, dC, dD, dbias, dz,
):  # fmt: skip
    """Gradients of `scan_forward`.

    Args:
        dy: gradient of the output (L, D).
        states: state before each chunk (chunks, N, D).
        u: input (L, D).
        delta: step sizes (L, D).
        A: state matrix, transposed (N, D).
        B: (L, N).
        C: (L, N).
        D: skip weight (D,).
        bias: added to delta (D,).
        z: gate (L, D), not looked at unless ``gated``.
        gated: whether there is a gate.
        use_softplus: whether delta goes through softplus.
        order: positions in the order of their visits (L,).
        begin: first channel.
        end: channel after the last.
        accumulate: whether to add to du and dz or to overwrite them.
        du: (L, D).
        ddelta: (L, D), overwritten.
        dA: (N, D), overwritten.
        dB: (L, N), added to.
        dC: (L, N), added to.
        dD: (D,), overwritten.
        dbias: (D,), overwritten.
        dz: (L, D), left alone unless ``gated``.
    """
    length, d_state = order.shape[0], A.shape[0]
    A_lanes, A2 = padded(A, begin, end), padded(A * LOG2E, begin, end)
    skip, bias_lanes = padded(D.reshape(1, -1), begin, end), padded(bias.reshape(1, -1), begin, end)
    carry, dA_lanes, before = aligned(*A2.shape), aligned(*A2.shape), aligned(*A2.shape)
    vectors = aligned(2, A2.shape[1])
    tiles, sums = aligned(_TILES * CHUNK, LANES), aligned(A2.shape[0] * CHUNK, LANES)
    coefficients = np.zeros(2 * A2.shape[0] * CHUNK, np.float32)
    for chunk in range((length + CHUNK - 1) // CHUNK - 1, -1, -1):
        start = chunk * CHUNK
        visits, ahead = order[start : min(start + CHUNK, length)], order[max(start - CHUNK, 0) : start]
        ascending = consecutive(visits)
        interleave(B, C, visits, coefficients)
        before[:d_state, : end - begin] = states[chunk, :, begin:end]
        sums[:] = 0
        for first in range(begin, end, LANES):
            width, lane = min(LANES, end - first), first - begin
            gather(u, visits, ahead, ascending, first, width, tiles, _U)
            gather(delta, visits, ahead, ascending, first, width, tiles, _STEPS)
            gather(dy, visits, ahead, ascending, first, width, tiles, _DY)
            _prepare(tiles, load_at(bias_lanes, 0, lane), use_softplus)
            if gated:
                gather(z, visits, ahead, ascending, first, width, tiles, _Z)
                _open_gate(tiles, load_at(skip, 0, lane))
            for n in range(0, A2.shape[0], 2):
                _decay(tiles, A2, n, lane, visits.shape[0])
                _recompute(tiles, before, n, lane, coefficients, visits.shape[0], sums)
                if gated:
                    _read_out(tiles, n, coefficients, visits.shape[0])
                _reverse(tiles, A_lanes, n, lane, coefficients, visits.shape[0], carry, dA_lanes, sums)
            _finish(tiles, load_at(skip, 0, lane), lane, visits.shape[0], vectors)
            scatter(tiles, _DU, visits, ascending, first, width, accumulate, du)
            scatter(tiles, _DDELTA, visits, ascending, first, width, False, ddelta)
            if gated:
                _close_gate(tiles)
                scatter(tiles, _DZ, visits, ascending, first, width, accumulate, dz)
        _add_totals(sums, visits, dB, dC)
    dA[:, begin:end] = dA_lanes[:d_state, : end - begin]
    dD[begin:end] = vectors[0, : end - begin]
    dbias[begin:end] = vectors[1, : end - begin]


@njit
def _prepare(tiles, bias, use_softplus):
    """Bias and softplus on the steps, slope of the softplus, what drives the state, and sums that begin at zero.

    Lanes beyond the channels have an input of zero and therefore no state; rows beyond the chunk are never read.
    """
    zero = splat(np.float32(0))
    for t in range(CHUNK):
        step, slope = load(tiles, _STEPS + t) + bias, splat(np.float32(1))
        if use_softplus:
            step, slope = softplus_and_slope(step)
        store(tiles, _STEPS + t, step)
        store(tiles, _SLOPES + t, slope)
        store(tiles, _DRIVE + t, step * load(tiles, _U + t))
        store(tiles, _DU + t, zero)
        store(tiles, _DDELTA + t, zero)


@njit
def _open_gate(tiles, skip):
    """Gradient of what the gate multiplies, the gate's slope times dy in the place of z, and the output's start."""
    one = splat(np.float32(1))
    for t in range(CHUNK):
        z, dy = load(tiles, _Z + t), load(tiles, _DY + t)
        gate = sigmoid(z)
        store(tiles, _DY + t, dy * (z * gate))
        store(tiles, _Z + t, dy * (gate * (one + z * (one - gate))))
        store(tiles, _DZ + t, skip * load(tiles, _U + t))


@njit
def _decay(tiles, A2, n, lane, length):
    """Decay of two states at each step; apart from what depends on the state, so that nothing waits."""
    a0, a1 = load_at(A2, n, lane), load_at(A2, n + 1, lane)
    for t in range(length):
        step = load(tiles, _STEPS + t)
        store(tiles, _DECAY + t, exp2(step * a0))
        store(tiles, _DECAY1 + t, exp2(step * a1))


@njit
def _recompute(tiles, before, n, lane, coefficients, length, sums):
    """Decayed states at each step of a chunk, from the state before the first, and the sums that make dC."""
    h0, h1 = load_at(before, n, lane), load_at(before, n + 1, lane)
    for t in range(length):
        drive, dy = load(tiles, _DRIVE + t), load(tiles, _DY + t)
        b = _first_coefficient(n, t)
        decayed0, decayed1 = load(tiles, _DECAY + t) * h0, load(tiles, _DECAY1 + t) * h1
        store(tiles, _DECAYED + t, decayed0)
        store(tiles, _DECAYED1 + t, decayed1)
        h0 = decayed0 + drive * splat_at(coefficients, b)
        h1 = decayed1 + drive * splat_at(coefficients, b + 1)
        add_folded(sums, n * CHUNK + 2 * t + 1, dy * h0, dy * h1)


@njit
def _read_out(tiles, n, coefficients, length):
    """Add what two states give to the output before the gate."""
    for t in range(length):
        drive, y = load(tiles, _DRIVE + t), load(tiles, _DZ + t)
        b = _first_coefficient(n, t)
        c = b + STATES
        y = y + splat_at(coefficients, c) * (load(tiles, _DECAYED + t) + drive * splat_at(coefficients, b))
        y = y + splat_at(coefficients, c + 1) * (load(tiles, _DECAYED1 + t) + drive * splat_at(coefficients, b + 1))
        store(tiles, _DZ + t, y)


@njit
def _reverse(tiles, A, n, lane, coefficients, length, carry, dA_lanes, sums):
    """Walk one chunk backwards for two states; g is the gradient of a state after each step."""
    a0, dA0, carried0 = load_at(A, n, lane), load_at(dA_lanes, n, lane), load_at(carry, n, lane)
    a1, dA1, carried1 = load_at(A, n + 1, lane), load_at(dA_lanes, n + 1, lane), load_at(carry, n + 1, lane)
    for back in range(length):
        t = length - 1 - back
        step, drive, dy = load(tiles, _STEPS + t), load(tiles, _DRIVE + t), load(tiles, _DY + t)
        b = _first_coefficient(n, t)
        g0 = carried0 + splat_at(coefficients, b + STATES) * dy
        g1 = carried1 + splat_at(coefficients, b + STATES + 1) * dy
        carried0, carried1 = g0 * load(tiles, _DECAY + t), g1 * load(tiles, _DECAY1 + t)
        exponent0, exponent1 = g0 * load(tiles, _DECAYED + t), g1 * load(tiles, _DECAYED1 + t)
        dA0, dA1 = dA0 + exponent0 * step, dA1 + exponent1 * step
        store(tiles, _DDELTA + t, load(tiles, _DDELTA + t) + exponent0 * a0 + exponent1 * a1)
        driven = load(tiles, _DU + t) + g0 * splat_at(coefficients, b) + g1 * splat_at(coefficients, b + 1)
        store(tiles, _DU + t, driven)
        add_folded(sums, n * CHUNK + 2 * t, g0 * drive, g1 * drive)
    store_at(dA_lanes, n, lane, dA0)
    store_at(dA_lanes, n + 1, lane, dA1)
    store_at(carry, n, lane, carried0)
    store_at(carry, n + 1, lane, carried1)


@njit
def _first_coefficient(n, t):
    """Where `interleave` put B of an even state; the next state's is beside it, C's STATES later."""
    return 2 * (n // STATES * STATES * CHUNK + t * STATES) + n % STATES


@njit
def _finish(tiles, skip, lane, length, vectors):
    """Turn the two sums over states into the gradients of u and delta, and add to those of D and the bias."""
    dD, dbias = load_at(vectors, 0, lane), load_at(vectors, 1, lane)
    for t in range(length):
        driven, dy, u = load(tiles, _DU + t), load(tiles, _DY + t), load(tiles, _U + t)
        ddelta = (load(tiles, _DDELTA + t) + driven * u) * load(tiles, _SLOPES + t)
        store(tiles, _DDELTA + t, ddelta)
        store(tiles, _DU + t, driven * load(tiles, _STEPS + t) + skip * dy)
        dD = dD + dy * u
        dbias = dbias + ddelta
    store_at(vectors, 0, lane, dD)
    store_at(vectors, 1, lane, dbias)


@njit
def _close_gate(tiles):
    for t in range(CHUNK):
        store(tiles, _DZ + t, load(tiles, _DZ + t) * load(tiles, _Z + t))


@njit
def _add_totals(sums, visits, dB, dC):
    for n in range(dB.shape[1]):
        for t in range(visits.shape[0]):
            row = n // 2 * 2 * CHUNK + 2 * t
            dB[visits[t], n] += half_total(sums, row, n % 2)
            dC[visits[t], n] += half_total(sums, row + 1, n % 2)
