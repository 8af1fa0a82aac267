"""Before a training: the number of its lesions that are smaller than one token of the network."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnunetv2_mamba.evaluation.lesions import Extent, label_volume
from nnunetv2_mamba.evaluation.targets import Target, targets_of
from nnunetv2_mamba.folders.segmentations import open_segmentation, segmentation_file

NOTABLE_SHARE = 0.05
"""If at least this share of the lesions of a target is smaller than a token, the training logs a warning."""

MAX_CASES = 50
MAX_VOXELS = 500_000_000
"""Limits of the count, so that a training starts within seconds; the command ``inspect`` has no limits."""


@dataclass(frozen=True)
class LesionsBelowToken:
    """Lesions of one target in some training cases, at the voxels of the plan.

    Attributes:
        target: its name in dataset.json.
        smaller: number of lesions with fewer voxels than a token.
        lesions: number of lesions.
    """

    target: str
    smaller: int
    lesions: int

    @property
    def share(self) -> float:
        """Share of the lesions that are smaller than a token; 0 where there are none."""
        return self.smaller / self.lesions if self.lesions else 0.0


def warn_of_lesions_below_token(
    folder: Path, cases: Sequence[str], *, dataset: Mapping[str, Any], token: Sequence[int], network: str
) -> str | None:
    """One sentence for the log of a training, with the share and a remedy.

    Args:
        folder: of the preprocessed cases.
        cases: names of the training cases.
        dataset: content of dataset.json.
        token: voxels that the first layer of the network joins, one number per axis; two if it sees slices.
        network: its name.

    Returns:
        None if no target reaches `NOTABLE_SHARE`.

    Raises:
        OSError: a segmentation cannot be read.
        ValueError: dataset.json names no foreground label.
    """
    if math.prod(token) == 1:
        return None
    found, looked_at = count_lesions_below_token(folder, cases, targets=targets_of(dataset), token=token)
    notable = [target for target in found if target.share >= NOTABLE_SHARE]
    if not notable:
        return None
    shares = ", ".join(f"{each.share:.0%} of {each.target} ({each.smaller} of {each.lesions})" for each in notable)
    size = " x ".join(map(str, token))
    return (
        f"WARNING: lesions smaller than one token of {network} ({size} voxels), in {looked_at} of {len(cases)} "
        f"training cases: {shares}. The network can hardly find them; train a network that keeps the full resolution "
        "too, such as -tr nnUNetTrainerCurriculum, and compare. nnUNetv2_mamba inspect shows the sizes of all lesions."
    )


def count_lesions_below_token(
    folder: Path, cases: Sequence[str], *, targets: Sequence[Target], token: Sequence[int]
) -> tuple[list[LesionsBelowToken], int]:
    """Count lesions in a sample of the training cases, which is spread evenly over all of them.

    Args:
        folder: of the preprocessed cases.
        cases: names of the training cases.
        targets: labels or regions.
        token: voxels that the first layer joins, one number per axis; two if the network sees slices.

    Returns:
        Counts of each target, and the number of cases in the sample.

    Raises:
        OSError: a segmentation cannot be read.
    """
    sizes: dict[str, list[np.ndarray]] = {target.name: [] for target in targets}
    voxels = looked_at = 0
    for case in _evenly_spread(cases):
        segmentation = np.asarray(open_segmentation(segmentation_file(folder, case))[0])
        looked_at, voxels = looked_at + 1, voxels + segmentation.size
        for target in targets:
            lesions, number, box = label_volume(target.mask(segmentation), "corners")
            extent = Extent.of(lesions[box], number)
            sizes[target.name].append(extent.seen(slicewise=len(token) < segmentation.ndim))
        if voxels > MAX_VOXELS:
            break
    counts = []
    for name, of_cases in sizes.items():
        joined = np.concatenate(of_cases) if of_cases else np.zeros(0)
        counts.append(LesionsBelowToken(name, int((joined < math.prod(token)).sum()), len(joined)))
    return counts, looked_at


def _evenly_spread(cases: Sequence[str]) -> list[str]:
    """At most `MAX_CASES` cases, in an order in which the first few are spread over all cases too."""
    chosen = [cases[index] for index in np.linspace(0, len(cases) - 1, min(len(cases), MAX_CASES)).astype(int)]
    return [case for start in range(8) for case in chosen[start::8]]
