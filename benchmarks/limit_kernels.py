"""Kernels that do nothing but multiply and add, or nothing but exponentials, in the scan's own vector lanes."""

import numpy as np
from numba import njit

from nnunetv2_mamba.ops.cpu.lanes import load, splat, store
from nnunetv2_mamba.ops.cpu.math import exp2

CHAINS = 12
"""Independent chains: a multiply-add takes four or five cycles, and a core starts one or two in each."""

_F = np.float32


@njit(nogil=True)
def multiply_adds(rows, steps):
    """Replace x by x * c + d, ``steps`` times in each of CHAINS rows (CHAINS, LANES)."""
    c, d = splat(_F(0.999)), splat(_F(0.001))
    a0, a1, a2, a3 = load(rows, 0), load(rows, 1), load(rows, 2), load(rows, 3)
    a4, a5, a6, a7 = load(rows, 4), load(rows, 5), load(rows, 6), load(rows, 7)
    a8, a9, a10, a11 = load(rows, 8), load(rows, 9), load(rows, 10), load(rows, 11)
    for _ in range(steps):
        a0, a1, a2, a3 = a0 * c + d, a1 * c + d, a2 * c + d, a3 * c + d
        a4, a5, a6, a7 = a4 * c + d, a5 * c + d, a6 * c + d, a7 * c + d
        a8, a9, a10, a11 = a8 * c + d, a9 * c + d, a10 * c + d, a11 * c + d
    for row, value in enumerate((a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11)):
        store(rows, row, value)


@njit(nogil=True)
def exponentials(rows, steps):
    """Replace x by 2**x, ``steps`` times in each of CHAINS rows (CHAINS, LANES); any number takes as long."""
    a0, a1, a2, a3 = load(rows, 0), load(rows, 1), load(rows, 2), load(rows, 3)
    a4, a5, a6, a7 = load(rows, 4), load(rows, 5), load(rows, 6), load(rows, 7)
    a8, a9, a10, a11 = load(rows, 8), load(rows, 9), load(rows, 10), load(rows, 11)
    for _ in range(steps):
        a0, a1, a2, a3 = exp2(a0), exp2(a1), exp2(a2), exp2(a3)
        a4, a5, a6, a7 = exp2(a4), exp2(a5), exp2(a6), exp2(a7)
        a8, a9, a10, a11 = exp2(a8), exp2(a9), exp2(a10), exp2(a11)
    for row, value in enumerate((a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11)):
        store(rows, row, value)
