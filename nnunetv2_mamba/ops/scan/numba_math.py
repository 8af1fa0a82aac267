"""exp2 and softplus on lanes; numba alone would call libm once per number."""

import math

import numpy as np
from numba import njit
from numpy.polynomial import Chebyshev, Polynomial

from nnunetv2_mamba.ops.scan.numba_lanes import greater, shift_exponent, smaller, splat, where_positive

LOG2E = np.float32(math.log2(math.e))
_F = np.float32
_ROUNDING = _F(
    1.5 * 2**23
)  # adding it leaves a float32 no bits below one, so subtracting it again rounds to an integer
_SMALLEST, _LARGEST = _F(-126), _F(127)  # powers of two that are normal float32 numbers

# 2**f = 1 + f q(f): with the one kept apart, a step of zero decays nothing, however many of them follow one another.
_C1, _C2, _C3, _C4, _C5, _C6 = (
    _F(c)
    for c in Chebyshev.interpolate(lambda f: np.expm1(f * np.log(2)) / f, 5, domain=[-0.5, 0.5])
    .convert(kind=Polynomial)
    .coef
)
_R3, _R5, _R7, _R9, _R11, _R13 = (_F(1 / n) for n in (3, 5, 7, 9, 11, 13))


@njit
def exp2(x):
    """2**x with a relative error below 2e-7, clamped to the normal float32 range instead of reaching 0 or infinity."""
    x = smaller(greater(x, splat(_SMALLEST)), splat(_LARGEST))
    rounded = x + splat(_ROUNDING)
    f = x - (rounded - splat(_ROUNDING))
    polynomial = splat(_C5) + f * splat(_C6)
    polynomial = splat(_C4) + f * polynomial
    polynomial = splat(_C3) + f * polynomial
    polynomial = splat(_C2) + f * polynomial
    polynomial = splat(_C1) + f * polynomial
    polynomial = splat(_F(1)) + f * polynomial
    return shift_exponent(polynomial, rounded)


@njit
def softplus_and_slope(x):
    """log(1 + e**x) and its derivative, both accurate relative to their size for either sign of x.

    With e = e**-|x| in (0, 1], log(1 + e) = 2 artanh(e / (2 + e)), whose argument is at most 1/3: seven terms of the
    series leave an error below 2e-8.
    """
    zero, one, two = splat(_F(0)), splat(_F(1)), splat(_F(2))
    magnitude = greater(x, zero - x)
    e = exp2((zero - magnitude) * splat(LOG2E))
    ratio = e / (two + e)
    square = ratio * ratio
    series = splat(_R11) + square * splat(_R13)
    series = splat(_R9) + square * series
    series = splat(_R7) + square * series
    series = splat(_R5) + square * series
    series = splat(_R3) + square * series
    series = one + square * series
    slope = where_positive(x, one, e) / (one + e)
    return greater(x, zero) + two * ratio * series, slope
