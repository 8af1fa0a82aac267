"""What the Triton kernels of the scan share: tiles of T visits and BLOCK channels, and recurrences along their visits.

A thread holds all T visits of its channels, neighbouring threads neighbouring channels. A recurrence then costs one
multiply-add per state, and nothing is exchanged between threads. Triton chooses that layout by itself where it knows
that channels lie side by side in memory, but not that several of them could be read at once: row strides are never
specialised on being multiples of 16.

Where a tile reaches beyond the last visit, it reads the first position again with B and C zero: no state changes that
is still looked at. Where it reaches beyond the last channel, everything read is zero; A2 and scratch are as wide as the
tiles.
"""

import math

import triton
import triton.language as tl

LOG2E = tl.constexpr(math.log2(math.e))
LN2 = tl.constexpr(math.log(2))


@triton.jit
def channels_of_program(per_group, groups, blocks, BLOCK: tl.constexpr):
    """Group, channels, which of them exist, and their columns in scratch; no program has channels of two groups.

    The blocks of a sequence are next to each other in the first dimension of the grid, where they read the same B and C
    about the same time, and sequences after each other: the other dimensions end at 65,535, a batch may be larger.
    """
    index = tl.program_id(0) % (groups * blocks)
    group = index // blocks
    first = index % blocks * BLOCK
    offsets = tl.arange(0, BLOCK)
    columns = tl.max_contiguous(index.to(tl.int64) * BLOCK + offsets, 1)
    return group, (group * per_group + first).to(tl.int64) + offsets, first + offsets < per_group, columns


@triton.jit
def load_vector(pointers, exists, present: tl.constexpr, BLOCK: tl.constexpr):
    """One number of each channel; zeros where the argument was left out."""
    if present:
        return tl.load(pointers, mask=exists, other=0.0)
    else:
        return tl.zeros([BLOCK], tl.float32)


@triton.jit
def load_tile(pointer, rows, row_stride, channels, exists):
    """Tile (T, BLOCK) in float32 of the positions in ``rows``."""
    offsets = rows[:, None] * row_stride + channels[None, :]
    return tl.load(pointer + offsets, mask=exists[None, :], other=0.0).to(tl.float32)


@triton.jit
def store_tile(pointer, rows, row_stride, channels, mask, value, ADD: tl.constexpr):
    """Write a tile, or add it to what another direction has written."""
    target = pointer + rows[:, None] * row_stride + channels[None, :]
    if ADD:
        value += tl.load(target, mask=mask, other=0.0)
    tl.store(target, value, mask=mask)


@triton.jit
def step_and_slope(delta, bias, SOFTPLUS: tl.constexpr):
    """Step size and its derivative by delta.

    log(1 + e) = 2 artanh(e / (2 + e)) with e = exp(-|x|) is accurate relative to its size, which a GPU's logarithm near
    one is not; the argument is at most 1/3, and seven terms of the series leave an error below 2e-8.
    """
    x = delta + bias[None, :]
    if SOFTPLUS:
        e = tl.exp2(-tl.abs(x) * LOG2E)
        ratio = e / (2.0 + e)
        square = ratio * ratio
        series = 1.0 / 11 + square * (1.0 / 13)
        series = 1.0 / 9 + square * series
        series = 1.0 / 7 + square * series
        series = 1.0 / 5 + square * series
        series = 1.0 / 3 + square * series
        series = 1.0 + square * series
        return tl.maximum(x, 0.0) + 2.0 * ratio * series, tl.where(x > 0, 1.0, e) / (1.0 + e)
    else:
        return x, tl.full(x.shape, 1.0, tl.float32)


@triton.jit
def silu_and_slope(z):
    """SiLU and its derivative."""
    sigmoid = 1.0 / (1.0 + tl.exp2(-z * LOG2E))
    return z * sigmoid, sigmoid * (1.0 + z * (1.0 - sigmoid))


@triton.jit
def _advance(decay1, state1, decay2, state2):
    """Run 2 of h <- decay * h + drive after run 1."""
    return decay1 * decay2, decay2 * state1 + state2


@triton.jit
def _advance_keeping(decay1, state1, factor1, before1, decay2, state2, factor2, before2):
    """`_advance`, and the state before the last visit, factor * h + before of the h that a run starts from."""
    return decay1 * decay2, decay2 * state1 + state2, factor2 * decay1, factor2 * state1 + before2


@triton.jit
def _retreat(factor1, gradient1, decay1, factor2, gradient2, decay2):
    """Run 2 of the gradient's way back after the later run 1: it decays by the visit that it has just left."""
    return factor2 * (decay1 * factor1), factor2 * (decay1 * gradient1) + gradient2, decay2


# A compiler drops a summand of -0 and a factor of 1, but not a summand of +0: it would turn -0 into 0.


@triton.jit
def states_after(decay, drive, start, T: tl.constexpr):
    """State after each visit of h <- decay * h + drive."""
    first = tl.arange(0, T)[:, None] == 0
    drive += tl.where(first, decay * start[None, :], -0.0)
    _, after = tl.associative_scan((decay, drive), 0, _advance)
    return after


@triton.jit
def states_around(decay, drive, start, T: tl.constexpr):
    """State before and after each visit."""
    first = tl.arange(0, T)[:, None] == 0
    drive += tl.where(first, decay * start[None, :], -0.0)
    one = tl.full(decay.shape, 1.0, tl.float32)
    start_only = tl.where(first, start[None, :], tl.full(decay.shape, -0.0, tl.float32))
    _, after, _, before = tl.associative_scan((decay, drive, one, start_only), 0, _advance_keeping)
    return before, after


@triton.jit
def last_first(tile, T: tl.constexpr):
    """The visits in reverse order: halves change places, then quarters of halves, and so on.

    a ^ (a ^ b) is b, which a compiler knows, so that for numbers of one thread nothing of this is left.
    """
    bits = tile.to(tl.int32, bitcast=True)
    for i in tl.static_range(5):
        if 2**i < T:
            pairs = tl.reshape(bits, [T // 2 // 2**i, 2, 2**i, tile.shape[1]])
            bits = tl.reshape(pairs ^ tl.xor_sum(pairs, 1, keep_dims=True), tile.shape)
    return bits.to(tl.float32, bitcast=True)


@triton.jit
def state_gradients(decay, source, carry, T: tl.constexpr):
    """Gradient of the state after each visit: its own source, and that of the next state times the next decay.

    The carry is that product for the visit after the tile. A reversed scan would exchange numbers between threads.
    """
    last = tl.arange(0, T)[:, None] == T - 1
    source += tl.where(last, carry[None, :], -0.0)
    one = tl.full(decay.shape, 1.0, tl.float32)
    _, gradient, _ = tl.associative_scan((one, last_first(source, T), last_first(decay, T)), 0, _retreat)
    return last_first(gradient, T)


@triton.jit
def row_of(tile, index: tl.constexpr, T: tl.constexpr):
    """One visit of a tile."""
    return tl.sum(tl.where(tl.arange(0, T)[:, None] == index, tile, -0.0), 0)
