"""Triton kernels that bring B and C into the order of the visits, and their gradients back.

The scan reads B and C once per block of channels, state by state: (N, visits) in memory lets it read T visits at once.
"""

import triton
import triton.language as tl


@triton.jit
def _turn(source, target, rows, row_stride, state_stride, n, visits, padded, mask, visited):
    """Block (visits, states) of a projection, transposed, in float32; visits that only pad are zero."""
    block = tl.load(source + rows[:, None] * row_stride + n[None, :] * state_stride, mask=mask & visited, other=0.0)
    tl.store(target + n[None, :] * padded + visits[:, None], block.to(tl.float32), mask=mask)


@triton.jit(
    do_not_specialize=[
        "B_batch", "B_direction", "B_group", "B_state", "B_row", "C_batch", "C_direction", "C_group", "C_state",
        "C_row", "directions", "groups", "d_state", "length",
    ]
)  # fmt: skip
def gather_projections(
    B, C, orders, B_visits, C_visits,
    B_batch, B_direction, B_group, B_state, B_row, C_batch, C_direction, C_group, C_state, C_row,
    directions, groups, d_state, length, padded,
    VISITS: tl.constexpr, STATES: tl.constexpr,
):  # fmt: skip
    """B and C of any strides as (batch, K, G, N, visits) in float32, padded with zeros to whole chunks."""
    chunks = padded // VISITS
    row = (tl.program_id(0) // chunks).to(tl.int64)
    sample, k, group = row // (directions * groups), row // groups % directions, row % groups
    visits = tl.program_id(0) % chunks * VISITS + tl.arange(0, VISITS)
    positions = tl.load(orders + k * padded + visits).to(tl.int64)
    B += sample * B_batch + k * B_direction + group * B_group
    C += sample * C_batch + k * C_direction + group * C_group
    padded = padded.to(tl.int64)
    B_visits += row * d_state * padded
    C_visits += row * d_state * padded
    visited = (visits < length)[:, None]
    for i in range(tl.cdiv(d_state, STATES)):
        n = (i * STATES + tl.arange(0, STATES)).to(tl.int64)
        mask = (n < d_state)[None, :]
        _turn(B, B_visits, positions, B_row, B_state, n, visits, padded, mask, visited)
        _turn(C, C_visits, positions, C_row, C_state, n, visits, padded, mask, visited)


@triton.jit(
    do_not_specialize=[
        "dB_batch", "dB_direction", "dB_group", "dB_state", "dB_row", "dC_batch", "dC_direction", "dC_group",
        "dC_state", "dC_row", "first_direction", "slots", "groups", "d_state", "length", "blocks",
    ]
)  # fmt: skip
def scatter_projections(
    parts, orders, dB, dC,
    dB_batch, dB_direction, dB_group, dB_state, dB_row, dC_batch, dC_direction, dC_group, dC_state, dC_row,
    first_direction, slots, groups, d_state, length, padded, blocks,
    VISITS: tl.constexpr, STATES: tl.constexpr,
):  # fmt: skip
    """Gradients of B and C in grid order: parts (blocks, batch, slots, G, N, padded, 2) summed, first block first."""
    chunks = padded // VISITS
    row = (tl.program_id(0) // chunks).to(tl.int64)
    sample, k, group = row // (slots * groups), first_direction + row // groups % slots, row % groups
    padded = padded.to(tl.int64)
    visits = tl.program_id(0) % chunks * VISITS + tl.arange(0, VISITS)
    positions = tl.load(orders + k * padded + visits).to(tl.int64)[:, None]
    dB += sample * dB_batch + k * dB_direction + group * dB_group
    dC += sample * dC_batch + k * dC_direction + group * dC_group
    parts += row * d_state * padded * 2
    size = tl.num_programs(0) // chunks * d_state * padded * 2
    for i in range(tl.cdiv(d_state, STATES)):
        n = (i * STATES + tl.arange(0, STATES)).to(tl.int64)[None, :]
        mask = (visits < length)[:, None] & (n < d_state)
        B_sum = tl.zeros([VISITS, STATES], tl.float32)
        C_sum = tl.zeros([VISITS, STATES], tl.float32)
        for block in range(blocks):
            pair = parts + block * size + (n * padded + visits[:, None]) * 2
            B_sum += tl.load(pair, mask=mask, other=0.0)
            C_sum += tl.load(pair + 1, mask=mask, other=0.0)
        tl.store(dB + positions * dB_row + n * dB_state, B_sum, mask=mask)
        tl.store(dC + positions * dC_row + n * dC_state, C_sum, mask=mask)
