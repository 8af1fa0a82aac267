"""Tiles: CHUNK visits of LANES channels in the order of the visits, gathered once and worked on in the L1 cache.

All tiles of a kernel are rows of one array, addressed by where they begin, so that the compiler keeps a single pointer.
"""

import numpy as np
from numba import njit

from nnunetv2_mamba.ops.cpu.lanes import LANES, aligned, load, load_at, prefetch, store, store_at
from nnunetv2_mamba.ops.scan.contract import CHUNK
from nnunetv2_mamba.ops.scan.numba_transpose import add_transposed, load_transposed

STATES = 4
"""States that lie together in what `interleave` writes, and that a kernel's innermost loop can take at once."""


@njit
def padded(rows, begin, end):
    """Columns ``begin`` to ``end`` of (rows, D), zeros added until lanes and groups of states are full."""
    width = (end - begin + LANES - 1) // LANES * LANES
    result = aligned((rows.shape[0] + STATES - 1) // STATES * STATES, width)
    result[: rows.shape[0], : end - begin] = rows[:, begin:end]
    return result


@njit
def interleave(B, C, visits, coefficients):
    """Rows (position, N) of B and C in the order of the visits, STATES numbers of B beside those of C.

    Args:
        B: (L, N).
        C: (L, N).
        visits: positions, CHUNK at most.
        coefficients: vector that receives them; index ((group * CHUNK) + visit) * 2 * STATES, C's STATES later.
    """
    for t in range(visits.shape[0]):
        for n in range(B.shape[1]):
            place = (n // STATES * CHUNK + t) * 2 * STATES + n % STATES
            coefficients[place] = B[visits[t], n]
            coefficients[place + STATES] = C[visits[t], n]


@njit
def consecutive(visits):
    """Whether a full chunk visits neighbours in ascending order, as the first direction of every grid does."""
    for t in range(1, visits.shape[0]):
        if visits[t] != visits[t - 1] + 1:
            return False
    return visits.shape[0] == CHUNK


@njit
def gather(source, visits, ahead, ascending, first, width, tiles, tile):
    """Fill a tile.

    Args:
        source: (L, D).
        visits: positions, CHUNK at most.
        ahead: positions of the chunk that comes next, asked for in time because rows far apart are not foreseen.
        ascending: what `consecutive` said.
        first: first channel.
        width: number of channels, LANES at most; lanes beyond are zero.
        tiles: rows of LANES.
        tile: row at which the tile begins.
    """
    if width == LANES and source.strides[1] == source.itemsize:
        for t in range(visits.shape[0]):
            store(tiles, tile + t, load_at(source, visits[t], first))
        for t in range(ahead.shape[0]):
            prefetch(source, ahead[t], first)
    elif width == LANES and ascending and source.strides[0] == source.itemsize:
        for start in range(0, CHUNK, LANES):
            load_transposed(source, visits[start], first, tiles, tile + start)
    else:
        if width < LANES:
            tiles[tile : tile + CHUNK] = 0
        for j in range(width):
            for t in range(visits.shape[0]):
                tiles[tile + t, j] = source[visits[t], first + j]


@njit
def scatter(tiles, tile, visits, ascending, first, width, accumulate, target):
    """Undo `gather`: a tile overwrites a part of the target (L, D), or is added to it."""
    if width == LANES and target.strides[1] == target.itemsize:
        for t in range(visits.shape[0]):
            value = load(tiles, tile + t)
            if accumulate:
                value = value + load_at(target, visits[t], first)
            store_at(target, visits[t], first, value)
    elif width == LANES and ascending and target.strides[0] == target.itemsize:
        for start in range(0, CHUNK, LANES):
            add_transposed(tiles, tile + start, accumulate, target, visits[start], first)
    else:
        for j in range(width):
            for t in range(visits.shape[0]):
                before = target[visits[t], first + j] if accumulate else np.float32(0)
                target[visits[t], first + j] = before + tiles[tile + t, j]
