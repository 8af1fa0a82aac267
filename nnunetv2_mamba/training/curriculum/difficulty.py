"""The curriculum's Difficulty Measurer: sizes of lesions, then averages of each case's losses."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata

Reduce = Callable[[np.ndarray], np.ndarray]
"""Sums an array over all processes of a training."""


class DifficultyMeasurer:
    """How hard each training case is.

    Losses are collected during an epoch and averaged at its end, so that neither the order of the steps nor the number
    of processes matters: n visits in an epoch move a case's average by the factor decay^n towards their mean.

    Args:
        sizes: size of the lesions by case, NaN for cases without any; those are not ranked.
        loss_decay: decay of the averages per visit.

    Attributes:
        cases: names, sorted.
        sizes: of these cases (N,).
        losses: average loss (N,), NaN before the first visit.
        visits: how often a case's loss was measured (N,).
    """

    def __init__(self, sizes: Mapping[str, float], loss_decay: float) -> None:
        self.cases = sorted(sizes)
        self.sizes = np.array([sizes[case] for case in self.cases], dtype=float)
        self.losses = np.full(len(self.cases), np.nan)
        self.visits = np.zeros(len(self.cases), dtype=int)
        self._decay = loss_decay
        self._position = {case: position for position, case in enumerate(self.cases)}
        self._epoch = np.zeros((2, len(self.cases)))

    def positions(self, cases: Sequence[str]) -> np.ndarray:
        """Indices of cases in `cases`."""
        return np.array([self._position[case] for case in cases])

    def by_size(self) -> np.ndarray:
        """Difficulty from 0, largest lesions, to 1, smallest (N,); NaN for cases without lesions."""
        return _fractional_rank(-self.sizes)

    def by_loss(self) -> np.ndarray:
        """Difficulty from 0, lowest average loss, to 1, highest (N,).

        A case not visited yet keeps its place by size; cases without lesions have NaN.
        """
        ranks = _fractional_rank(np.where(np.isnan(self.sizes), np.nan, self.losses))
        return np.where(np.isnan(ranks), self.by_size(), ranks)

    def record(self, positions: np.ndarray, losses: np.ndarray) -> None:
        """Record losses of samples; those that are not finite are left out.

        Args:
            positions: index in `cases` of the case of each sample (B,).
            losses: of the samples (B,), NaN where one shows no lesion.
        """
        finite = np.isfinite(losses)
        np.add.at(self._epoch[0], positions[finite], losses[finite])
        np.add.at(self._epoch[1], positions[finite], 1)

    def end_epoch(self, reduce: Reduce) -> np.ndarray:
        """Update the average losses with the losses of the epoch.

        Args:
            reduce: sums over processes.

        Returns:
            Mean loss of each case in this epoch (N,), NaN for cases that were not visited.
        """
        sums, visits = reduce(self._epoch)
        self._epoch = np.zeros_like(self._epoch)
        visited = visits > 0
        mean = np.full(len(self.cases), np.nan)
        mean[visited] = sums[visited] / visits[visited]
        old = np.where(np.isnan(self.losses), mean, self.losses)
        self.losses = np.where(visited, mean + self._decay**visits * (old - mean), self.losses)
        self.visits += visits.astype(int)
        return mean

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint, by case."""
        return {
            case: {"size": float(size), "loss": float(loss), "visits": int(visits)}
            for case, size, loss, visits in zip(self.cases, self.sizes, self.losses, self.visits, strict=True)
        }

    def load_state_dict(self, state: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """Take averages and visits from a checkpoint; the sizes are not changed.

        Returns:
            The cases that the checkpoint does not contain; they start without an average.
        """
        for case in state.keys() & self._position.keys():
            position = self._position[case]
            self.losses[position] = state[case]["loss"]
            self.visits[position] = state[case]["visits"]
        return sorted(self._position.keys() - state.keys())


def size_thirds(sizes: np.ndarray) -> np.ndarray:
    """Third of the cases by lesion size (N,): 0 is the smallest, 2 the largest, -1 means that there are no lesions."""
    ranks = _fractional_rank(sizes)
    return np.where(np.isnan(ranks), -1, np.minimum(np.nan_to_num(ranks) * 3, 2).astype(int))


def _fractional_rank(values: np.ndarray) -> np.ndarray:
    """Ranks from 0 to 1 of the values that are not NaN; equal values share a rank, and a single value has 0.5."""
    ranks = np.full(len(values), np.nan)
    known = ~np.isnan(values)
    if count := int(known.sum()):
        ranks[known] = (rankdata(values[known]) - 1) / (count - 1) if count > 1 else 0.5
    return ranks
