"""exp2 and softplus on lanes; numba alone would call libm once per number."""

import math

import numpy as np
from numba import njit
from numpy.polynomial import Chebyshev, Polynomial

from nnunetv2_mamba.ops.cpu.lanes import greater, nearest_integer, splat, times_power_of_two, where_positive

LOG2E = np.float32(math.log2(math.e))
_F = np.float32

# 2**f = 1 + f q(f) for |f| <= 1/2, minimax in relative error (9e-8): with the one kept apart, a step of zero decays
# nothing, however many of them follow one another.
_Q = tuple(_F(c) for c in (0.69314698, 0.24022242, 0.05550734, 0.0096715, 0.00132647))

# log(1 + e) = e p(e) for 0 <= e <= 1, interpolated at Chebyshev's points; relative error 5e-9.
_P = tuple(
    _F(c) for c in Chebyshev.interpolate(lambda e: np.log1p(e) / e, 9, domain=[0, 1]).convert(kind=Polynomial).coef
)


@njit
def exp2(x):
    """2**x of finite x with a relative error below 2e-7 wherever result and 2**-x are normal float32 numbers.

    Beyond, it is as good as zero or infinite. What is not a number stays so.
    """
    whole = nearest_integer(x)
    f = x - whole
    q = splat(_Q[3]) + f * splat(_Q[4])
    q = splat(_Q[2]) + f * q
    q = splat(_Q[1]) + f * q
    q = splat(_Q[0]) + f * q
    return times_power_of_two(splat(_F(1)) + f * q, whole)


@njit
def softplus(x):
    """log(1 + e**x), accurate relative to its size for either sign of x."""
    return greater(x, splat(_F(0))) + _log_of_one_plus(_exp_of_minus_magnitude(x))


@njit
def softplus_and_slope(x):
    """Softplus and its derivative, both accurate relative to their size for either sign of x."""
    e, one = _exp_of_minus_magnitude(x), splat(_F(1))
    return greater(x, splat(_F(0))) + _log_of_one_plus(e), where_positive(x, one, e) / (one + e)


@njit
def sigmoid(x):
    """1 / (1 + e**-x), accurate relative to its size for either sign of x."""
    e, one = _exp_of_minus_magnitude(x), splat(_F(1))
    return where_positive(x, one, e) / (one + e)


@njit
def _exp_of_minus_magnitude(x):
    # Infinite magnitudes would be no number in exp2; e**-104 is zero in float32.
    return exp2(greater((splat(_F(0)) - greater(x, splat(_F(0)) - x)) * splat(LOG2E), splat(_F(-150))))


@njit
def _log_of_one_plus(e):
    p = splat(_P[8]) + e * splat(_P[9])
    p = splat(_P[7]) + e * p
    p = splat(_P[6]) + e * p
    p = splat(_P[5]) + e * p
    p = splat(_P[4]) + e * p
    p = splat(_P[3]) + e * p
    p = splat(_P[2]) + e * p
    p = splat(_P[1]) + e * p
    return e * (splat(_P[0]) + e * p)
