"""CPU kernels of the scan: one direction, one sample, a range of channels; no state tensor is ever written out.

A vector lane is a channel, so that no step needs a sum across lanes but those of dB and dC. LANES channels are taken at
a time and CHUNK steps at a time: a tile of an input is then 2 KiB, and all tiles of a kernel stay in the L1 cache.
Inputs are indexed [position, channel] whatever their memory order is.
"""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numba import njit

from nnunetv2_mamba.ops.scan import contract, numba_lanes, numba_math
from nnunetv2_mamba.ops.scan.contract import CHUNK
from nnunetv2_mamba.ops.scan.numba_lanes import (
    LANES,
    add_transposed,
    load,
    load_at,
    load_transposed,
    splat,
    store,
    store_at,
    total,
)
from nnunetv2_mamba.ops.scan.numba_math import LOG2E, exp2, softplus_and_slope

logger = logging.getLogger(__name__)


def kernel(function: Callable) -> Callable:
    """Compile a function at its first call, keep the machine code on disk, and let other threads run beside it."""
    options = {"nogil": True, "error_model": "numpy"}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError as error:  # a container without a home, its packages not writable
        logger.warning("%s; it is compiled anew in every process, set NUMBA_CACHE_DIR to keep it", error)
        return njit(**options)(function)


@kernel
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
    length = order.shape[0]
    A, h = _padded(A2, begin, end), _padded(np.zeros_like(A2), begin, end)
    skip, bias_lanes = _padded(D.reshape(1, -1), begin, end), _padded(bias.reshape(1, -1), begin, end)
    u_tile, steps, slopes, drive, y_tile = _tile(), _tile(), _tile(), _tile(), _tile()
    B_tile, C_tile = np.empty((A2.shape[0], CHUNK), np.float32), np.empty((A2.shape[0], CHUNK), np.float32)
    for chunk in range((length + CHUNK - 1) // CHUNK):
        start = chunk * CHUNK
        visits = order[start : min(start + CHUNK, length)]
        consecutive = _consecutive(visits)
        _turn(B, visits, B_tile)
        _turn(C, visits, C_tile)
        if states.shape[0]:
            states[chunk, :, begin:end] = h[:, : end - begin]
        for first in range(begin, end, LANES):
            width, lane = min(LANES, end - first), first - begin
            _gather(u, visits, consecutive, first, width, u_tile)
            _gather(delta, visits, consecutive, first, width, steps)
            _prepare(u_tile, load_at(bias_lanes, 0, lane), use_softplus, steps, slopes, drive)
            for t in range(CHUNK):
                store(y_tile, t, load(u_tile, t) * load_at(skip, 0, lane))
            _advance(steps, drive, A, lane, B_tile, C_tile, visits.shape[0], h, y_tile)
            _scatter(y_tile, visits, consecutive, first, width, accumulate, y)


@kernel
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
    A_lanes, A2 = _padded(A, begin, end), _padded(A * LOG2E, begin, end)
    skip, bias_lanes = _padded(D.reshape(1, -1), begin, end), _padded(bias.reshape(1, -1), begin, end)
    carry, dA_lanes, before = np.zeros_like(A2), np.zeros_like(A2), np.zeros_like(A2)
    dD_lanes, dbias_lanes = np.zeros_like(skip), np.zeros_like(skip)
    u_tile, steps, slopes, drive, dy_tile = _tile(), _tile(), _tile(), _tile(), _tile()
    through_drive, through_decay, h, decay = _tile(), _tile(), _tile(), _tile()
    B_tile, C_tile = np.empty((d_state, CHUNK), np.float32), np.empty((d_state, CHUNK), np.float32)
    dB_lanes, dC_lanes = np.empty((d_state * CHUNK, LANES), np.float32), np.empty((d_state * CHUNK, LANES), np.float32)
    for chunk in range((length + CHUNK - 1) // CHUNK - 1, -1, -1):
        start = chunk * CHUNK
        visits = order[start : min(start + CHUNK, length)]
        consecutive = _consecutive(visits)
        _turn(B, visits, B_tile)
        _turn(C, visits, C_tile)
        before[:, : end - begin] = states[chunk, :, begin:end]
        dB_lanes[:] = 0
        dC_lanes[:] = 0
        for first in range(begin, end, LANES):
            width, lane = min(LANES, end - first), first - begin
            _gather(u, visits, consecutive, first, width, u_tile)
            _gather(delta, visits, consecutive, first, width, steps)
            _gather(dy, visits, consecutive, first, width, dy_tile)
            _prepare(u_tile, load_at(bias_lanes, 0, lane), use_softplus, steps, slopes, drive)
            through_drive[:] = 0
            through_decay[:] = 0
            for n in range(d_state):
                _recompute(
                    load_at(before, n, lane), steps, drive, load_at(A2, n, lane), B_tile[n], visits.shape[0], h, decay
                )
                _reverse(
                    steps, drive, h, decay, dy_tile, load_at(A_lanes, n, lane), B_tile[n], C_tile[n], n, lane,
                    visits.shape[0], carry, dA_lanes, through_drive, through_decay, dB_lanes, dC_lanes,
                )  # fmt: skip
            _finish(
                u_tile, steps, slopes, dy_tile, load_at(skip, 0, lane), lane, visits.shape[0],
                through_drive, through_decay, dD_lanes, dbias_lanes,
            )  # fmt: skip
            _scatter(through_drive, visits, consecutive, first, width, accumulate, du)
            _scatter(through_decay, visits, consecutive, first, width, False, ddelta)
        for n in range(d_state):
            for t in range(visits.shape[0]):
                dB[visits[t], n] += total(load(dB_lanes, n * CHUNK + t))
                dC[visits[t], n] += total(load(dC_lanes, n * CHUNK + t))
    dA[:, begin:end] = dA_lanes[:, : end - begin]
    dD[begin:end] = dD_lanes[0, : end - begin]
    dbias[begin:end] = dbias_lanes[0, : end - begin]


@njit
def _padded(rows, begin, end):
    """Columns ``begin`` to ``end`` with zeros behind them, so that every block of lanes is full."""
    lanes = (end - begin + LANES - 1) // LANES * LANES
    padded = np.zeros((rows.shape[0], lanes), np.float32)
    padded[:, : end - begin] = rows[:, begin:end]
    return padded


@njit
def _tile():
    return np.zeros((CHUNK, LANES), np.float32)


@njit
def _turn(projection, visits, tile):
    """Rows (position, N) of a projection in the order of the visits, as (N, step), for all channels of a chunk."""
    for t in range(visits.shape[0]):
        for n in range(tile.shape[0]):
            tile[n, t] = projection[visits[t], n]


@njit
def _consecutive(visits):
    """Whether a full chunk visits neighbours in ascending order, as the first direction of every grid does."""
    for t in range(1, visits.shape[0]):
        if visits[t] != visits[t - 1] + 1:
            return False
    return visits.shape[0] == CHUNK


@njit
def _gather(source, visits, consecutive, first, width, tile):
    if width == LANES and source.strides[1] == source.itemsize:
        for t in range(visits.shape[0]):
            store(tile, t, load_at(source, visits[t], first))
    elif width == LANES and consecutive and source.strides[0] == source.itemsize:
        for start in range(0, CHUNK, LANES):
            load_transposed(source, visits[start], first, tile, start)
    else:
        if width < LANES:
            tile[:] = 0
        for j in range(width):
            for t in range(visits.shape[0]):
                tile[t, j] = source[visits[t], first + j]


@njit
def _scatter(tile, visits, consecutive, first, width, accumulate, target):
    if width == LANES and target.strides[1] == target.itemsize:
        for t in range(visits.shape[0]):
            value = load(tile, t)
            if accumulate:
                value = value + load_at(target, visits[t], first)
            store_at(target, visits[t], first, value)
    elif width == LANES and consecutive and target.strides[0] == target.itemsize:
        for start in range(0, CHUNK, LANES):
            add_transposed(tile, start, accumulate, target, visits[start], first)
    else:
        for j in range(width):
            for t in range(visits.shape[0]):
                before = target[visits[t], first + j] if accumulate else np.float32(0)
                target[visits[t], first + j] = before + tile[t, j]


@njit
def _prepare(u_tile, bias, use_softplus, steps, slopes, drive):
    """Bias and softplus on the steps, slope of the softplus, and what drives the state: step times input.

    Lanes beyond the channels have an input of zero and therefore no state; rows beyond the chunk are never read.
    """
    for t in range(CHUNK):
        step, slope = load(steps, t) + bias, splat(np.float32(1))
        if use_softplus:
            step, slope = softplus_and_slope(step)
        store(steps, t, step)
        store(slopes, t, slope)
        store(drive, t, step * load(u_tile, t))


@njit
def _advance(steps, drive, A2, lane, B, C, length, h, y_tile):
    for n in range(A2.shape[0]):
        exponent, state = load_at(A2, n, lane), load_at(h, n, lane)
        for t in range(length):
            state = exp2(load(steps, t) * exponent) * state + load(drive, t) * splat(B[n, t])
            store(y_tile, t, load(y_tile, t) + splat(C[n, t]) * state)
        store_at(h, n, lane, state)


@njit
def _recompute(state, steps, drive, exponent, B, length, h, decay):
    """Decay and state before each step of a chunk, from the state before the first."""
    for t in range(length):
        factor = exp2(load(steps, t) * exponent)
        store(decay, t, factor)
        store(h, t, state)
        state = factor * state + load(drive, t) * splat(B[t])


@njit
def _reverse(
    steps, drive, h, decay, dy, A, B, C, n, lane, length,
    carry, dA_lanes, through_drive, through_decay, dB_lanes, dC_lanes,
):  # fmt: skip
    """Walk one chunk backwards for state n; g is the gradient of the state after each step.

    What dB and dC are summed from stays spread over the lanes until all channels have added to it.
    """
    dA, carried = load_at(dA_lanes, n, lane), load_at(carry, n, lane)
    for back in range(length):
        t = length - 1 - back
        row = n * CHUNK + t
        b, output, driving = splat(B[t]), load(dy, t), load(drive, t)
        before, factor = load(h, t), load(decay, t)
        g = carried + splat(C[t]) * output
        carried = g * factor
        exponent = carried * before
        dA = dA + exponent * load(steps, t)
        store(through_decay, t, load(through_decay, t) + exponent * A)
        store(through_drive, t, load(through_drive, t) + g * b)
        store(dB_lanes, row, load(dB_lanes, row) + g * driving)
        store(dC_lanes, row, load(dC_lanes, row) + output * (factor * before + driving * b))
    store_at(dA_lanes, n, lane, dA)
    store_at(carry, n, lane, carried)


@njit
def _finish(u_tile, steps, slopes, dy, skip, lane, length, through_drive, through_decay, dD_lanes, dbias_lanes):
    """Turn the two sums over n into the gradients of u (left in `through_drive`) and of delta (in `through_decay`)."""
    dD, dbias = load_at(dD_lanes, 0, lane), load_at(dbias_lanes, 0, lane)
    for t in range(length):
        driven, output, u = load(through_drive, t), load(dy, t), load(u_tile, t)
        ddelta = (load(through_decay, t) + driven * u) * load(slopes, t)
        store(through_decay, t, ddelta)
        store(through_drive, t, driven * load(steps, t) + skip * output)
        dD = dD + output * u
        dbias = dbias + ddelta
    store_at(dD_lanes, 0, lane, dD)
    store_at(dbias_lanes, 0, lane, dbias)


def discard_stale_code(kernels, sources) -> None:
    """Delete machine code on disk that is older than a file it was compiled from.

    numba looks at the file of the kernel itself and not at those of the functions that were compiled into it.

    Args:
        kernels: what `kernel` returned.
        sources: the other files.
    """
    changed = max(Path(source).stat().st_mtime_ns for source in sources)
    for compiled in kernels:
        if compiled.stats.cache_path is None:
            continue
        for index in Path(compiled.stats.cache_path).glob(f"*.{compiled.__name__}-*.nbi"):
            if index.stat().st_mtime_ns < changed:
                index.unlink(missing_ok=True)


discard_stale_code((scan_forward, scan_backward), (contract.__file__, numba_lanes.__file__, numba_math.__file__))
