"""The curriculum's Training Scheduler: from difficulties to weights that move from easy to hard cases."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from scipy.stats import rankdata

Ranking = Literal["training set", "mini-batch"]


@dataclass(frozen=True)
class Curriculum:
    """Constants of the regularised curriculum. The paper gives no values; the defaults are choices of this package.

    Attributes:
        strength: lambda of eq. 7 in [0, 1]: 0 trains as nnU-Net does, 1 drops the regularisation towards equal weights.
        max_rank: ranks are mapped onto [1, max_rank] before 1 / rank is taken. Plain ranks of 1,900 cases would leave
            an effective sample size of 40.
        hold: part of the training, in [0, ramp_end], in which easy cases come first and easy means large lesions.
        ramp_end: part of the training, in [hold, 1], after which hard cases come first.
        loss_decay: decay, per visit, of the average of a case's losses.
        ranking: whether a case is ranked among all training cases or only among those of its mini-batch.

    Raises:
        ValueError: a constant is outside its range.
    """

    strength: float = 0.5
    max_rank: float = 10.0
    hold: float = 0.1
    ramp_end: float = 0.6
    loss_decay: float = 0.9
    ranking: Ranking = "training set"

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 0 <= self.strength <= 1:
            raise ValueError(f"the curriculum's strength, lambda, is {self.strength}: give a number from 0 to 1.")
        if not self.max_rank >= 1:
            raise ValueError(f"the curriculum's max_rank is {self.max_rank}: give 1 or more.")
        if not 0 <= self.hold <= self.ramp_end <= 1:
            raise ValueError(
                f"the curriculum holds until {self.hold} and ramps until {self.ramp_end} of the training: "
                "give 0 <= hold <= ramp_end <= 1."
            )
        if not 0 <= self.loss_decay < 1:
            raise ValueError(f"the curriculum's loss_decay is {self.loss_decay}: give a number from 0 to below 1.")
        if self.ranking not in get_args(Ranking):
            raise ValueError(f"the curriculum's ranking is {self.ranking!r}: choose one of {get_args(Ranking)}.")


class TrainingScheduler:
    """Weights of cases from their difficulties and from how much of the training is over.

    Args:
        curriculum: its constants.
    """

    def __init__(self, curriculum: Curriculum) -> None:
        self.curriculum = curriculum

    def holds(self, progress: float) -> bool:
        """Whether the training is still in its first part, in which lesion sizes and not losses define difficulty."""
        return progress < self.curriculum.hold

    def pacing(self, progress: float) -> float:
        """Tau: 0 while easy cases come first, 1 when hard ones do, half a cosine between.

        Args:
            progress: part of the training that is over, in [0, 1].
        """
        hold, end = self.curriculum.hold, self.curriculum.ramp_end
        if progress < hold:
            return 0.0
        if progress >= end:
            return 1.0
        return (1 - math.cos(math.pi * (progress - hold) / (end - hold))) / 2

    def weights(self, difficulty: np.ndarray, progress: float) -> np.ndarray:
        """Weight v of each case: lambda rho + (1 - lambda) with rho = (1 - tau) easiness + tau hardness.

        It minimises lambda (v - rho)^2 + (1 - lambda) (v - 1)^2: the two terms of eq. 7 in the roles that the text
        gives them, rank-guided assignment and balance.

        Args:
            difficulty: any numbers that order the cases (N,), larger is harder; NaN where a case is not to be ranked.
            progress: as in `pacing`.

        Returns:
            Weights (N,) in [1 - (1 - 1 / max_rank) lambda, 1]; 1 where the difficulty is NaN.
        """
        strength, tau = self.curriculum.strength, self.pacing(progress)
        ranked = ~np.isnan(difficulty)
        rho = (1 - tau) * self._easiness(difficulty[ranked]) + tau * self._easiness(-difficulty[ranked])
        weights = np.ones(len(difficulty))
        weights[ranked] = strength * rho + (1 - strength)
        return weights

    def _easiness(self, difficulty: np.ndarray) -> np.ndarray:
        """1 / rank, ranks mapped linearly onto [1, max_rank], the easiest first; equal difficulties share a rank."""
        ranks = rankdata(difficulty) - 1
        return 1 / (1 + (self.curriculum.max_rank - 1) * ranks / max(len(ranks) - 1, 1))


def effective_sample_size(weights: np.ndarray) -> float:
    """Kish's (sum v)^2 / sum v^2: how many equally weighted cases carry as much information."""
    return float(weights.sum() ** 2 / np.square(weights).sum())
