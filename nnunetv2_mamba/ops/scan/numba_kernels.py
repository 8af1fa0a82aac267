"""CPU kernels of the scan: one direction, one sample, a range of channels; no state tensor is ever written out.

A vector lane is a channel, so that no step needs a sum across lanes but those of dB and dC. LANES channels are taken at
a time and CHUNK steps at a time: a tile of an input is then 2 KiB, and all tiles of a kernel stay in the L1 cache.
Inputs are indexed [position, channel] whatever their memory order is.
"""

import numpy as np
from numba import njit

from nnunetv2_mamba.ops.scan.contract import CHUNK
from nnunetv2_mamba.ops.scan.numba_lanes import LANES, load, load_at, splat, store, store_at, total
from nnunetv2_mamba.ops.scan.numba_math import LOG2E, exp2, softplus_and_slope


@njit(cache=True, nogil=True, error_model="numpy")
def scan_forward(u, delta, A2, B, C, D, bias, use_softplus, order, begin, end, accumulate, y, states):
    """Scan channels ``begin`` to ``end`` of one sample in one direction.

    Args:
        u: input (L, D).
        delta: step sizes (L, D).
        A2: state matrix times log2(e), transposed (N, D).
        B: (L, N).
        C: (L, N).
        D: skip weight (D,).
        bias: added to delta (D,).
        use_softplus: whether delta goes through softplus.
        order: positions in the order of their visits (L,).
        begin: first channel.
        end: channel after the last.
        accumulate: whether to add to y or to overwrite it.
        y: output (L, D).
        states: receives the state before each chunk (chunks, N, D); left alone where it has no chunks.
    """
    length, d_state = order.shape[0], A2.shape[0]
    h, A = np.empty((d_state, LANES), np.float32), np.zeros((d_state, LANES), np.float32)
    for first in range(begin, end, LANES):
        width = min(LANES, end - first)
        u_tile, steps, slopes, drive, y_tile = _tile(), _tile(), _tile(), _tile(), _tile()
        skip, bias_row = _row(D, first, width), _row(bias, first, width)
        A[:, :width] = A2[:, first : first + width]
        h[:] = 0
        for chunk in range((length + CHUNK - 1) // CHUNK):
            start = chunk * CHUNK
            visits = order[start : min(start + CHUNK, length)]
            if states.shape[0]:
                states[chunk, :, first : first + width] = h[:, :width]
            _gather(u, visits, first, width, u_tile)
            _gather(delta, visits, first, width, steps)
            _prepare(u_tile, bias_row, use_softplus, steps, slopes, drive)
            for t in range(CHUNK):
                store(y_tile, t, load(u_tile, t) * load(skip, 0))
            _advance(steps, drive, A, B, C, visits, h, y_tile)
            _scatter(y_tile, visits, first, width, accumulate, y)


@njit(cache=True, nogil=True, error_model="numpy")
def scan_backward(
    dy, states, u, delta, A, B, C, D, bias, use_softplus, order, begin, end, accumulate,
    du, ddelta, dA, dB, dC, dD, dbias,
):  # fmt: skip
    """Gradients of `scan_forward`, recomputed chunk by chunk from the saved states, last chunk first.

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
        use_softplus: whether delta goes through softplus.
        order: positions in the order of their visits (L,).
        begin: first channel.
        end: channel after the last.
        accumulate: whether to add to du or to overwrite it.
        du: (L, D).
        ddelta: (L, D), overwritten.
        dA: (N, D), overwritten.
        dB: (L, N), added to.
        dC: (L, N), added to.
        dD: (D,), overwritten.
        dbias: (D,), overwritten.
    """
    length, d_state = order.shape[0], A.shape[0]
    A_rows, A2_rows = np.zeros((d_state, LANES), np.float32), np.zeros((d_state, LANES), np.float32)
    carry, dA_rows = np.empty((d_state, LANES), np.float32), np.empty((d_state, LANES), np.float32)
    for first in range(begin, end, LANES):
        width = min(LANES, end - first)
        u_tile, steps, slopes, drive, dy_tile = _tile(), _tile(), _tile(), _tile(), _tile()
        through_drive, through_decay, h, decay = _tile(), _tile(), _tile(), _tile()
        skip, bias_row, start_row = _row(D, first, width), _row(bias, first, width), _row(D, first, width)
        dD_row, dbias_row = np.zeros((1, LANES), np.float32), np.zeros((1, LANES), np.float32)
        A_rows[:, :width] = A[:, first : first + width]
        A2_rows[:] = A_rows * LOG2E
        carry[:] = 0
        dA_rows[:] = 0
        for chunk in range((length + CHUNK - 1) // CHUNK - 1, -1, -1):
            start = chunk * CHUNK
            visits = order[start : min(start + CHUNK, length)]
            _gather(u, visits, first, width, u_tile)
            _gather(delta, visits, first, width, steps)
            _gather(dy, visits, first, width, dy_tile)
            _prepare(u_tile, bias_row, use_softplus, steps, slopes, drive)
            through_drive[:] = 0
            through_decay[:] = 0
            for n in range(d_state):
                start_row[0, :width] = states[chunk, n, first : first + width]
                _recompute(start_row, steps, drive, load(A2_rows, n), B, n, visits, h, decay)
                _reverse(
                    steps, drive, h, decay, dy_tile, load(A_rows, n), B, C, n, visits,
                    carry, dA_rows, through_drive, through_decay, dB, dC,
                )  # fmt: skip
            _finish(
                u_tile, steps, slopes, dy_tile, skip, visits.shape[0], through_drive, through_decay, dD_row, dbias_row
            )
            _scatter(through_drive, visits, first, width, accumulate, du)
            _scatter(through_decay, visits, first, width, False, ddelta)
        dA[:, first : first + width] = dA_rows[:, :width]
        dD[first : first + width] = dD_row[0, :width]
        dbias[first : first + width] = dbias_row[0, :width]


@njit(cache=True)
def _tile():
    return np.zeros((CHUNK, LANES), np.float32)


@njit(cache=True)
def _row(vector, first, width):
    row = np.zeros((1, LANES), np.float32)
    row[0, :width] = vector[first : first + width]
    return row


@njit(cache=True)
def _gather(source, visits, first, width, tile):
    if width == LANES and source.strides[1] == source.itemsize:
        for t in range(visits.shape[0]):
            store(tile, t, load_at(source, visits[t], first))
    elif source.strides[1] <= source.strides[0]:
        for t in range(visits.shape[0]):
            for j in range(width):
                tile[t, j] = source[visits[t], first + j]
    else:
        for j in range(width):
            for t in range(visits.shape[0]):
                tile[t, j] = source[visits[t], first + j]


@njit(cache=True)
def _scatter(tile, visits, first, width, accumulate, target):
    if width == LANES and target.strides[1] == target.itemsize:
        for t in range(visits.shape[0]):
            value = load(tile, t)
            if accumulate:
                value = value + load_at(target, visits[t], first)
            store_at(target, visits[t], first, value)
        return
    for j in range(width):
        for t in range(visits.shape[0]):
            before = target[visits[t], first + j] if accumulate else np.float32(0)
            target[visits[t], first + j] = before + tile[t, j]


@njit(cache=True)
def _prepare(u_tile, bias_row, use_softplus, steps, slopes, drive):
    """Bias and softplus on the steps, slope of the softplus, and what drives the state: step times input.

    Lanes beyond the channels have an input of zero and therefore no state; rows beyond the chunk are never read.
    """
    bias = load(bias_row, 0)
    for t in range(CHUNK):
        step, slope = load(steps, t) + bias, splat(np.float32(1))
        if use_softplus:
            step, slope = softplus_and_slope(step)
        store(steps, t, step)
        store(slopes, t, slope)
        store(drive, t, step * load(u_tile, t))


@njit(cache=True)
def _advance(steps, drive, A2, B, C, visits, h, y_tile):
    for n in range(A2.shape[0]):
        exponent, state = load(A2, n), load(h, n)
        for t in range(visits.shape[0]):
            position = visits[t]
            state = exp2(load(steps, t) * exponent) * state + load(drive, t) * splat(B[position, n])
            store(y_tile, t, load(y_tile, t) + splat(C[position, n]) * state)
        store(h, n, state)


@njit(cache=True)
def _recompute(start_row, steps, drive, exponent, B, n, visits, h, decay):
    """Decay and state before each step of a chunk."""
    state = load(start_row, 0)
    for t in range(visits.shape[0]):
        factor = exp2(load(steps, t) * exponent)
        store(decay, t, factor)
        store(h, t, state)
        state = factor * state + load(drive, t) * splat(B[visits[t], n])


@njit(cache=True)
def _reverse(
    steps, drive, h, decay, dy, A, B, C, n, visits, carry, dA_rows, through_drive, through_decay, dB, dC
):  # fmt: skip
    """Walk one chunk backwards for state n; g is the gradient of the state after each step."""
    dA, carried = load(dA_rows, n), load(carry, n)
    for back in range(visits.shape[0]):
        t = visits.shape[0] - 1 - back
        position = visits[t]
        b, output, driving = splat(B[position, n]), load(dy, t), load(drive, t)
        g = carried + splat(C[position, n]) * output
        carried = g * load(decay, t)
        exponent = carried * load(h, t)
        dA = dA + exponent * load(steps, t)
        store(through_decay, t, load(through_decay, t) + exponent * A)
        store(through_drive, t, load(through_drive, t) + g * b)
        dB[position, n] += total(g * driving)
        dC[position, n] += total(output * (load(decay, t) * load(h, t) + driving * b))
    store(dA_rows, n, dA)
    store(carry, n, carried)


@njit(cache=True)
def _finish(u_tile, steps, slopes, dy, skip, length, through_drive, through_decay, dD_row, dbias_row):
    """Turn the two sums over n into the gradients of u (left in `through_drive`) and of delta (in `through_decay`)."""
    dD, dbias = load(dD_row, 0), load(dbias_row, 0)
    for t in range(length):
        driven, output, u = load(through_drive, t), load(dy, t), load(u_tile, t)
        ddelta = (load(through_decay, t) + driven * u) * load(slopes, t)
        store(through_decay, t, ddelta)
        store(through_drive, t, driven * load(steps, t) + load(skip, 0) * output)
        dD = dD + output * u
        dbias = dbias + ddelta
    store(dD_row, 0, dD)
    store(dbias_row, 0, dbias)
