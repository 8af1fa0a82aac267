"""The vector functions that the kernels are made of, against numpy in double precision."""

import numpy as np
from numba import njit

from nnunetv2_mamba.ops.scan.numba_lanes import LANES, load, store, total
from nnunetv2_mamba.ops.scan.numba_math import exp2, softplus_and_slope


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
def _totals(values, results):
    for row in range(values.shape[0]):
        results[row] = total(load(values, row))


def _rows(values):
    count = len(values) // LANES * LANES
    return values[:count].astype(np.float32).reshape(-1, LANES)


def test_exp2_is_accurate_to_the_last_bits():
    values = _rows(np.linspace(-125.9, 126.9, 100_000))
    results = np.empty_like(values)
    _exp2_rows(values, results)
    assert np.abs(results / np.exp2(values.astype(np.float64)) - 1).max() < 2e-7


def test_exp2_is_clamped_and_passes_nan_on():
    values = np.zeros((1, LANES), np.float32)
    values[0, :4] = -1e9, 1e9, np.nan, 0
    results = np.empty_like(values)
    _exp2_rows(values, results)
    assert 0 < results[0, 0] < 1e-37
    assert np.isfinite(results[0, 1])
    assert np.isnan(results[0, 2])
    assert results[0, 3] == 1


def test_softplus_and_its_slope_are_relatively_accurate():
    values = _rows(np.linspace(-60, 60, 100_000))
    results, slopes = np.empty_like(values), np.empty_like(values)
    _softplus_rows(values, results, slopes)
    exact = values.astype(np.float64)
    rounding = 4e-7 + 2**-23 * np.abs(exact)  # the exponent is x log2(e): a rounded constant and a rounded product
    assert (np.abs(results / np.logaddexp(0, exact) - 1) < rounding).all()
    assert (np.abs(slopes * (1 + np.exp(-exact)) - 1) < rounding).all()


def test_total_adds_all_lanes():
    values = np.arange(3 * LANES, dtype=np.float32).reshape(3, LANES)
    results = np.empty(3, np.float32)
    _totals(values, results)
    assert results.tolist() == values.sum(1).tolist()
