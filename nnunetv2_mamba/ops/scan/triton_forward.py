"""Triton kernels of the forward pass, and of the segments that let a small batch fill a GPU.

A program scans one block of channels of one sample in one direction, over one segment of its visits. With several
segments, `segment_ends` first finds the last state of each segment if it started from zero, and `join_segments` makes
of these the state that each segment starts from. Offsets are 64-bit throughout.
"""

import triton
import triton.language as tl

from nnunetv2_mamba.ops.scan.triton_tiles import (
    channels_of_program,
    load_tile,
    load_vector,
    row_of,
    silu_and_slope,
    state_gradients,
    states_after,
    states_around,
    step_and_slope,
    store_tile,
)

UNSPECIALIZED = [
    "u_batch", "u_row", "delta_batch", "delta_direction", "delta_row",
    "z_batch", "z_row", "first_direction", "slots", "directions", "per_group", "groups", "blocks", "d_state",
    "length", "chunks", "segments",
]  # fmt: skip
"""Integers for whose values kernels are not compiled again; for the strides see `triton_tiles`."""


@triton.jit(do_not_specialize=[*UNSPECIALIZED, "y_slot", "y_batch", "y_row"])
def scan_forward(
    u, delta, A2, B, C, skip, bias, z, orders, y, states, carry,
    u_batch, u_row, delta_batch, delta_direction, delta_row, z_batch, z_row,
    y_slot, y_batch, y_row,
    first_direction, slots, chunks, directions, per_group, groups, blocks, d_state, length, padded, segment,
    SOFTPLUS: tl.constexpr, HAS_SKIP: tl.constexpr, HAS_BIAS: tl.constexpr, GATE: tl.constexpr, SAVE: tl.constexpr,
    ADD: tl.constexpr, CHUNK: tl.constexpr, T: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write y of `slots` directions from `first_direction` on, each to its slot, and the state before each chunk.

    The carry (batch, K, segments, N, columns) holds the states that the segments start from.
    """
    walk = (tl.program_id(0) // (groups * blocks)).to(tl.int64)
    sample, slot = walk // slots, walk % slots
    k = first_direction + slot
    group, channels, exists, columns = channels_of_program(per_group, groups, blocks, BLOCK)
    width = (groups * per_group).to(tl.int64)
    wide = (groups * blocks).to(tl.int64) * BLOCK
    padded = padded.to(tl.int64)
    sequence = sample * directions + k
    u += sample * u_batch
    delta += sample * delta_batch + k * delta_direction
    z += sample * z_batch
    y += sample * y_batch + slot * y_slot
    orders += k * padded
    A2 += k * d_state * wide + columns
    B += (sequence * groups + group) * d_state * padded
    C += (sequence * groups + group) * d_state * padded
    states += sequence * chunks * d_state * width + channels
    carry += (sequence * tl.num_programs(1) + tl.program_id(1)) * d_state * wide + columns
    weight = load_vector(skip + k * width + channels, exists, HAS_SKIP, BLOCK)
    shift = load_vector(bias + k * width + channels, exists, HAS_BIAS, BLOCK)
    begin = tl.program_id(1) * segment
    for i in range(tl.cdiv(tl.minimum(segment, length - begin), T)):
        start = begin + i * T
        visits = start + tl.arange(0, T)
        rows = tl.load(orders + visits).to(tl.int64)
        inputs = load_tile(u, rows, u_row, channels, exists)
        step, _ = step_and_slope(load_tile(delta, rows, delta_row, channels, exists), shift, SOFTPLUS)
        driven = step * inputs
        output = inputs * weight[None, :]
        # The states in `carry` were stored by the threads that hold the last row of a tile; all threads load them now.
        tl.debug_barrier()
        if SAVE:  # noqa: SIM102 - settled when the kernel is compiled, unlike the next condition
            if start % CHUNK == 0:
                saved = states + start // CHUNK * (d_state * width)
                for n in range(d_state):
                    tl.store(saved + n * width, tl.load(carry + n * wide), mask=exists)
        for n in range(d_state):
            decay = tl.exp2(step * tl.load(A2 + n * wide)[None, :])
            drive = driven * tl.load(B + n * padded + visits)[:, None]
            after = states_after(decay, drive, tl.load(carry + n * wide), T)
            output += after * tl.load(C + n * padded + visits)[:, None]
            tl.store(carry + n * wide, row_of(after, T - 1, T))
        mask = (visits < length)[:, None] & exists[None, :]
        if GATE:
            if ADD:
                output += load_tile(y, rows, y_row, channels, exists)
            gate, _ = silu_and_slope(load_tile(z, rows, z_row, channels, exists))
            store_tile(y, rows, y_row, channels, mask, output * gate, False)
        else:
            store_tile(y, rows, y_row, channels, mask, output, ADD)


@triton.jit(do_not_specialize=[*UNSPECIALIZED, "source_batch", "source_row"])
def segment_ends(
    source, delta, A2, projection, bias, z, orders, ends, totals,
    source_batch, source_row, delta_batch, delta_direction, delta_row,
    z_batch, z_row,
    directions, per_group, groups, blocks, d_state, length, padded, segment, segments,
    SOFTPLUS: tl.constexpr, HAS_BIAS: tl.constexpr, GATE: tl.constexpr, BACKWARD: tl.constexpr,
    T: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Last state of each segment that starts with the state zero (batch, K, segments, N, columns), and sum of steps.

    With BACKWARD these are gradients of states, driven by dy and C instead of u and B. `ends` must be zero before. The
    segment with no successor is left out.
    """
    sequence = (tl.program_id(0) // (groups * blocks)).to(tl.int64)
    sample, k = sequence // directions, sequence % directions
    index = tl.program_id(1)
    if BACKWARD:
        index += 1
    group, channels, exists, columns = channels_of_program(per_group, groups, blocks, BLOCK)
    width = (groups * per_group).to(tl.int64)
    wide = (groups * blocks).to(tl.int64) * BLOCK
    padded = padded.to(tl.int64)
    source += sample * source_batch
    delta += sample * delta_batch + k * delta_direction
    z += sample * z_batch
    orders += k * padded
    A2 += k * d_state * wide + columns
    projection += (sequence * groups + group) * d_state * padded
    ends += (sequence * segments + index) * d_state * wide + columns
    shift = load_vector(bias + k * width + channels, exists, HAS_BIAS, BLOCK)
    total = tl.zeros([BLOCK], tl.float32)
    tiles = tl.cdiv(tl.minimum(segment, length - index * segment), T)
    for i in range(tiles):
        tile = tiles - 1 - i if BACKWARD else i
        visits = index * segment + tile * T + tl.arange(0, T)
        rows = tl.load(orders + visits).to(tl.int64)
        step, _ = step_and_slope(load_tile(delta, rows, delta_row, channels, exists), shift, SOFTPLUS)
        driven = load_tile(source, rows, source_row, channels, exists)
        if GATE:
            gate, _ = silu_and_slope(load_tile(z, rows, z_row, channels, exists))
            driven *= gate
        if not BACKWARD:
            driven *= step
        total += tl.sum(tl.where((visits < length)[:, None], step, 0.0), 0)
        # `ends` was stored by the threads that hold the outer row of a tile; all threads load it now.
        tl.debug_barrier()
        for n in range(d_state):
            decay = tl.exp2(step * tl.load(A2 + n * wide)[None, :])
            drive = driven * tl.load(projection + n * padded + visits)[:, None]
            handed = tl.load(ends + n * wide)
            if BACKWARD:
                handed = row_of(decay * state_gradients(decay, drive, handed, T), 0, T)
            else:
                handed = row_of(states_after(decay, drive, handed, T), T - 1, T)
            tl.store(ends + n * wide, handed)
    tl.store(totals + (sequence * segments + index) * wide + columns, total)


@triton.jit(do_not_specialize=["directions", "wide", "d_state", "segments"])
def join_segments(
    ends, totals, A2, directions, wide, d_state, segments,
    BACKWARD: tl.constexpr, T: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Replace the last state of each segment, computed from zero, by the state that the segment starts with."""
    per_sequence = tl.cdiv(d_state * wide, BLOCK)
    sequence = (tl.program_id(0) // per_sequence).to(tl.int64)
    entries = tl.program_id(0) % per_sequence * BLOCK + tl.arange(0, BLOCK)
    exists = entries < d_state * wide
    state_size = d_state * wide.to(tl.int64)
    A2_row = tl.load(A2 + sequence % directions * state_size + entries, mask=exists, other=0.0)
    handed = tl.zeros([BLOCK], tl.float32)
    for i in range(tl.cdiv(segments, T)):
        walked = i * T + tl.arange(0, T)
        index = sequence * segments + (segments - 1 - walked if BACKWARD else walked)
        mask = (walked < segments)[:, None] & exists[None, :]
        # No segment follows the last one of the walk: its sum of steps was never written.
        written = mask & (walked < segments - 1)[:, None]
        own = tl.load(ends + index[:, None] * state_size + entries[None, :], mask=written, other=0.0)
        total = tl.load(totals + index[:, None] * wide + (entries % wide)[None, :], mask=written, other=0.0)
        before, after = states_around(tl.exp2(A2_row[None, :] * total), own, handed, T)
        tl.store(ends + index[:, None] * state_size + entries[None, :], before, mask=mask)
        handed = row_of(after, T - 1, T)
