"""Triton kernel of the backward pass."""

import triton
import triton.language as tl

from nnunetv2_mamba.ops.scan.triton_forward import UNSPECIALIZED
from nnunetv2_mamba.ops.scan.triton_tiles import (
    LN2,
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

_STRIDES = [
    "dy_batch", "dy_row", "du_slot", "du_batch", "du_row",
    "ddelta_batch", "ddelta_direction", "ddelta_row", "dz_batch", "dz_row",
]  # fmt: skip


@triton.jit(do_not_specialize=[*UNSPECIALIZED, *_STRIDES])
def scan_backward(
    u, delta, A2, B, C, skip, bias, z, orders, dy, states, starts, carry, du, ddelta, dz, of_channels, dB_dC,
    u_batch, u_row, delta_batch, delta_direction, delta_row, z_batch, z_row,
    dy_batch, dy_row, du_slot, du_batch, du_row,
    ddelta_batch, ddelta_direction, ddelta_row, dz_batch, dz_row,
    first_direction, slots, chunks, directions, per_group, groups, blocks, d_state, length, padded, segment,
    SOFTPLUS: tl.constexpr, HAS_SKIP: tl.constexpr, HAS_BIAS: tl.constexpr, GATE: tl.constexpr, ADD: tl.constexpr,
    CHUNK: tl.constexpr, T: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Gradients of `slots` directions from `first_direction` on, recomputed chunk by chunk from the saved states.

    du goes to the slot of its direction. dB_dC (blocks, batch, slots, G, N, padded, 2) holds sums over the channels of
    a block, of_channels (batch, K, segments, N + 2, columns), zero before, what a segment adds to dA, dD and the
    gradient of the bias. Starts (batch, slots, segments, tiles of a chunk, N, columns) is scratch for the states that
    the tiles of a chunk start from; the carry is as in `scan_forward`, of gradients and from the last segment to the
    first.
    """
    TILES: tl.constexpr = CHUNK // T
    walk = (tl.program_id(0) // (groups * blocks)).to(tl.int64)
    sample, slot = walk // slots, walk % slots
    k = first_direction + slot
    group, channels, exists, columns = channels_of_program(per_group, groups, blocks, BLOCK)
    width = (groups * per_group).to(tl.int64)
    wide = (groups * blocks).to(tl.int64) * BLOCK
    padded = padded.to(tl.int64)
    sequence = sample * directions + k
    program = sequence * tl.num_programs(1) + tl.program_id(1)
    u += sample * u_batch
    delta += sample * delta_batch + k * delta_direction
    z += sample * z_batch
    dy += sample * dy_batch
    du += sample * du_batch + slot * du_slot
    ddelta += sample * ddelta_batch + k * ddelta_direction
    dz += sample * dz_batch
    orders += k * padded
    A2 += k * d_state * wide + columns
    B += (sequence * groups + group) * d_state * padded
    C += (sequence * groups + group) * d_state * padded
    walks = tl.num_programs(0) // (groups * blocks)
    part = (tl.program_id(0) % blocks * walks + walk) * groups + group
    dB_dC += part * d_state * padded * 2
    states += sequence * chunks * d_state * width + channels
    starts += (walk * tl.num_programs(1) + tl.program_id(1)) * TILES * d_state * wide + columns
    carry += program * d_state * wide + columns
    of_channels += program * (d_state + 2) * wide + columns
    weight = load_vector(skip + k * width + channels, exists, HAS_SKIP, BLOCK)
    shift = load_vector(bias + k * width + channels, exists, HAS_BIAS, BLOCK)
    dskip = tl.zeros([BLOCK], tl.float32)
    dbias = tl.zeros([BLOCK], tl.float32)
    begin = tl.program_id(1) * segment
    count = tl.cdiv(tl.minimum(segment, length - begin), CHUNK)
    for i in range(count):
        chunk = begin // CHUNK + count - 1 - i
        saved = states + chunk * (d_state * width)
        # All threads have read `starts` of the chunk before; now it is overwritten.
        tl.debug_barrier()
        for n in range(d_state):
            tl.store(starts + n * wide, tl.load(saved + n * width, mask=exists, other=0.0))
        for tile in range(TILES - 1):
            # The states that the tile starts with were stored by the threads that hold the last row of the tile before.
            tl.debug_barrier()
            visits = chunk * CHUNK + tile * T + tl.arange(0, T)
            rows = tl.load(orders + visits).to(tl.int64)
            raw = load_tile(delta, rows, delta_row, channels, exists)
            step, _ = step_and_slope(raw, shift, SOFTPLUS)
            driven = step * load_tile(u, rows, u_row, channels, exists)
            for n in range(d_state):
                before = starts + (tile * d_state + n) * wide
                decay = tl.exp2(step * tl.load(A2 + n * wide)[None, :])
                drive = driven * tl.load(B + n * padded + visits)[:, None]
                after = states_after(decay, drive, tl.load(before), T)
                tl.store(before + d_state * wide, row_of(after, T - 1, T))
        for j in range(TILES):
            # `starts`, `carry` and `of_channels` were stored by some threads of the program and are loaded by others.
            tl.debug_barrier()
            tile = TILES - 1 - j
            visits = chunk * CHUNK + tile * T + tl.arange(0, T)
            rows = tl.load(orders + visits).to(tl.int64)
            raw = load_tile(delta, rows, delta_row, channels, exists)
            step, slope = step_and_slope(raw, shift, SOFTPLUS)
            inputs = load_tile(u, rows, u_row, channels, exists)
            driven = step * inputs
            visited = (visits < length)[:, None]
            output = tl.where(visited, load_tile(dy, rows, dy_row, channels, exists), 0.0)
            if GATE:
                gate, gate_slope = silu_and_slope(load_tile(z, rows, z_row, channels, exists))
                gate_slope *= output
                output *= gate
                ungated = inputs * weight[None, :]
            through_drive = tl.zeros([T, BLOCK], tl.float32)
            through_decay = tl.zeros([T, BLOCK], tl.float32)
            at_tile = starts + tile * (d_state * wide)
            for n in range(d_state):
                A2_row = tl.load(A2 + n * wide)[None, :]
                B_row = tl.load(B + n * padded + visits)[:, None]
                C_row = tl.load(C + n * padded + visits)[:, None]
                decay = tl.exp2(step * A2_row)
                before, after = states_around(decay, driven * B_row, tl.load(at_tile + n * wide), T)
                gradient = state_gradients(decay, output * C_row, tl.load(carry + n * wide), T)
                handed = gradient * decay
                tl.store(carry + n * wide, row_of(handed, 0, T))
                exponent = handed * before
                through_decay += exponent * A2_row
                through_drive += gradient * B_row
                dA = of_channels + n * wide
                tl.store(dA, tl.load(dA) + tl.sum(exponent * step, 0))
                both = tl.sum(tl.join(gradient * driven, output * after), 1)
                tl.store(dB_dC + (n * padded + visits)[:, None] * 2 + tl.arange(0, 2)[None, :], both)
                if GATE:
                    ungated += after * C_row
            gradient_step = (through_decay * LN2 + through_drive * inputs) * slope
            gradient_u = through_drive * step + output * weight[None, :]
            dskip += tl.sum(output * inputs, 0)
            dbias += tl.sum(gradient_step, 0)
            mask = visited & exists[None, :]
            store_tile(du, rows, du_row, channels, mask, gradient_u, ADD)
            store_tile(ddelta, rows, ddelta_row, channels, mask, gradient_step, False)
            if GATE:
                store_tile(dz, rows, dz_row, channels, mask, gate_slope * ungated, ADD)
    tl.store(of_channels + d_state * wide, dskip)
    tl.store(of_channels + (d_state + 1) * wide, dbias)
