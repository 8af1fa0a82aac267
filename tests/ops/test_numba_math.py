"""The vector functions that the kernels are made of, against numpy in double precision."""

import numpy as np
from numba import njit

from nnunetv2_mamba.ops.cpu.lanes import LANES, add_folded, half_total, load, store
from nnunetv2_mamba.ops.cpu.math import exp2, sigmoid, softplus, softplus_and_slope


@njit
def _exp2_rows(values, results):
    for row in range(values.shape[0]):
        store(results, row, exp2(load(values, row)))


@njit
def _softplus_rows(values, results, slopes):
    for row in range(values.shape[0]):
        result, slope = softplus_and_slope(load(values, row))
        store(results, row, result)
        store(slopes, row, slope)


@njit
def _one_by_one(values, results, slopes):
    for row in range(values.shape[0]):
        store(results, row, softplus(load(values, row)))
        store(slopes, row, sigmoid(load(values, row)))


@njit
def _half_totals(values, sums, totals):
    for row in range(0, values.shape[0], 2):
        add_folded(sums, row // 2, load(values, row), load(values, row + 1))
        totals[row] += half_total(sums, row // 2, 0)
        totals[row + 1] += half_total(sums, row // 2, 1)


def _rows(values):
    count = len(values) // LANES * LANES
    return values[:count].astype(np.float32).reshape(-1, LANES)


def test_exp2_is_accurate_to_the_last_bits():
    values = _rows(np.linspace(-125.9, 126.9, 100_000))
    results = np.empty_like(values)
    _exp2_rows(values, results)
    assert np.abs(results / np.exp2(values.astype(np.float64)) - 1).max() < 2e-7


def test_exp2_at_the_ends():
    values = np.zeros((1, LANES), np.float32)
    values[0, :7] = -1e9, 1e9, np.nan, 0, -np.float32(3e38), np.float32(3e38), -1e-30
    results = np.empty_like(values)
    _exp2_rows(values, results)
    assert (results[0, [0, 4]] >= 0).all()
    assert (results[0, [0, 4]] < 2e-38).all()
    assert (results[0, [1, 5]] > 1e38).all()
    assert np.isnan(results[0, 2])
    assert (results[0, [3, 6]] == 1).all()


def test_softplus_and_its_slope_are_relatively_accurate():
    values = _rows(np.linspace(-60, 60, 100_000))
    results, slopes = np.empty_like(values), np.empty_like(values)
    _softplus_rows(values, results, slopes)
    exact = values.astype(np.float64)
    rounding = 4e-7 + 2**-23 * np.abs(exact)  # the exponent is x log2(e): a rounded constant and a rounded product
    assert (np.abs(results / np.logaddexp(0, exact) - 1) < rounding).all()
    assert (np.abs(slopes * (1 + np.exp(-exact)) - 1) < rounding).all()


def test_softplus_and_sigmoid_alone_are_the_same_numbers():
    values = _rows(np.linspace(-60, 60, 1000))
    expected, found = np.empty((2, *values.shape), np.float32), np.empty((2, *values.shape), np.float32)
    _softplus_rows(values, *expected)
    _one_by_one(values, *found)
    np.testing.assert_array_equal(expected, found)


def test_half_totals_are_sums_of_what_was_folded():
    values = np.arange(6 * LANES, dtype=np.float32).reshape(6, LANES)
    sums, totals = np.ones((3, LANES), np.float32), np.zeros(6, np.float32)
    _half_totals(values, sums, totals)
    assert totals.tolist() == (values.sum(1) + LANES // 2).tolist()
