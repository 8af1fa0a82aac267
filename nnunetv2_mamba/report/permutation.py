"""A paired permutation test: do two models differ on the same cases by more than chance?

If the models were alike, the two results of a case could be exchanged. The test exchanges them in some cases and
computes the difference of the models again: p is the share of exchanges that give at least the observed difference.
Unlike a bootstrap interval, the test keeps its error rate for any number of cases.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from nnunetv2_mamba.report.statistics import Pooled

EVERY_WAY_UP_TO = 4096
RANDOM_WAYS = 4999


class Exchanges:
    """Exchanges of the results of two models in some of the cases: all exchanges if they are few, else random ones.

    The first exchange exchanges nothing. It counts too, so that p is never 0 (Phipson and Smyth 2010).

    Args:
        groups: name of the group of each case, such as its patient; a group is exchanged as a whole.
        seed: of random exchanges.
    """

    def __init__(self, groups: Sequence[str], seed: int = 0) -> None:
        names, group = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
        number = len(names)
        every_way = 2**number <= EVERY_WAY_UP_TO
        if every_way:
            ways = np.arange(2**number)[:, None] >> np.arange(number) & 1
        else:
            random = np.random.default_rng(seed).integers(0, 2, (RANDOM_WAYS, number))
            ways = np.concatenate([np.zeros((1, number), dtype=random.dtype), random])
        self._exchanged = ways[:, group].astype(float)
        self.least_p = (2 if every_way else 1) / len(ways)
        """The smallest possible p: exchanging all cases gives the same absolute difference as exchanging none."""

    def p_of_mean(self, differences: np.ndarray) -> float:
        """Two-sided p of a mean of differences by case (cases,); cases where it is NaN are left out."""
        defined = np.isfinite(differences)
        if not defined.any():
            return float("nan")
        return _share_as_far((1 - 2 * self._exchanged[:, defined]) @ differences[defined])

    def p_of_pooled(
        self, first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray], pooled: Pooled
    ) -> dict[str, float]:
        """Two-sided p of the difference of each pooled metric; NaN where it is not defined.

        Args:
            first: counts of one model, each (cases,).
            second: counts of the other model.
            pooled: metrics from summed counts.
        """
        sums: tuple[dict[str, np.ndarray], dict[str, np.ndarray]] = ({}, {})
        for name in first.keys() & second.keys():
            one, other = np.nan_to_num(first[name]), np.nan_to_num(second[name])
            moved = self._exchanged @ (other - one)
            sums[0][name], sums[1][name] = one.sum() + moved, other.sum() - moved
        values, others = pooled(sums[0]), pooled(sums[1])
        return {name: _share_as_far(np.asarray(values[name]) - np.asarray(others[name])) for name in values}


def _share_as_far(differences: np.ndarray) -> float:
    """Share of the exchanges (exchanges,) with at least the absolute difference of the first one."""
    observed = abs(float(differences[0]))
    if np.isnan(observed):
        return float("nan")
    # An undefined difference counts as large, which makes p larger. Equal sums may differ by rounding.
    nearer = np.abs(differences) < observed * (1 - 1e-9) - 1e-12
    return float(1 - nearer.mean())
