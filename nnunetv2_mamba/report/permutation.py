"""Whether two models differ on the same cases by more than chance: a paired permutation test.

Were the models alike, the two results of a case could as well be exchanged. So they are, in some cases and not in
others, and the difference of the models is computed again: p is the share of the ways to exchange that give at least
the difference that was observed. Other than an interval from drawing few cases again, this keeps its promise for any
number of cases.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from nnunetv2_mamba.report.statistics import Pooled

EVERY_WAY_UP_TO = 4096
RANDOM_WAYS = 4999


class Exchanges:
    """Ways to exchange what two models did in some of the cases: every way where these are few, else random ones.

    The first way exchanges nothing. With random ways it counts too, so that p is never 0 (Phipson and Smyth 2010).

    Args:
        groups: what is exchanged together with a case, such as its patient: one name for each case.
        seed: of random ways.
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
        """The smallest p that the test can give: to exchange all is as far out as to exchange nothing."""

    def p_of_mean(self, differences: np.ndarray) -> float:
        """Two-sided p of a mean of differences by case (cases,); cases where it is NaN are left out."""
        defined = np.isfinite(differences)
        if not defined.any():
            return float("nan")
        return _share_as_far((1 - 2 * self._exchanged[:, defined]) @ differences[defined])

    def p_of_pooled(
        self, first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray], pooled: Pooled
    ) -> dict[str, float]:
        """Two-sided p of the difference of each metric of all cases together; NaN where it is not defined.

        Args:
            first: what was counted in each case by the one model, each (cases,).
            second: the same by the other.
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
    """Share of the ways (ways,) with at least the difference of the first of them."""
    observed = abs(float(differences[0]))
    if np.isnan(observed):
        return float("nan")
    # Not defined counts as far: chance must not look smaller for it. Equal sums may differ by rounding.
    nearer = np.abs(differences) < observed * (1 - 1e-9) - 1e-12
    return float(1 - nearer.mean())
