"""Free-response ROC: lesion recall against false positives per case at several thresholds on probabilities."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from zipfile import BadZipFile
from zlib import error as ZlibError

import numpy as np

from nnunetv2_mamba.evaluation.case import Comparison, MaskPair, compare_pair
from nnunetv2_mamba.evaluation.errors import GeometryError
from nnunetv2_mamba.evaluation.protocol import Protocol
from nnunetv2_mamba.evaluation.targets import Target

THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""A voxel is predicted where the probability of its target reaches the threshold."""


def probabilities_of(path: Path, targets: Sequence[Target], shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Probability of each target at each voxel (*spatial), from the file that nnU-Net writes with ``--npz``.

    Args:
        path: of the file.
        targets: all targets. If one is a region, the file has one channel for each target, else one for each label.
        shape: of the reference.

    Raises:
        GeometryError: the probabilities have another grid.
        OSError: the file cannot be read.
    """
    try:
        with path.open("rb") as stream, np.load(stream) as file:
            channels = file["probabilities"]
    except (BadZipFile, EOFError, KeyError, ValueError, ZlibError) as error:
        raise OSError(f"{path} does not contain probabilities as nnU-Net writes them: {error}") from error
    if channels.ndim == len(shape) + 2 and channels.shape[1] == 1:
        channels = channels[:, 0]
    if channels.shape[1:] != shape:
        raise GeometryError(f"{path} has probabilities of {channels.shape[1:]} voxels, but its reference {shape}.")
    regions = any(len(target.labels) > 1 for target in targets)
    channel = {target.name: position if regions else target.labels[0] for position, target in enumerate(targets)}
    if max(channel.values()) >= len(channels):
        raise OSError(f"{path} has {len(channels)} channels, too few for the targets of dataset.json.")
    return {name: channels[number] for name, number in channel.items()}


def comparisons_by_threshold(
    probability: np.ndarray,
    reference: np.ndarray,
    spacing: Sequence[float],
    protocol: Protocol,
    ignored: np.ndarray | None = None,
    thresholds: Sequence[float] = THRESHOLDS,
) -> Iterator[Comparison]:
    """One case at each threshold, without distances between surfaces.

    Args:
        probability: of the target (*spatial).
        reference: bool (*spatial).
        spacing: of the voxels in mm, one number for each axis.
        protocol: the rules.
        ignored: voxels (*spatial) that belong to neither mask.
        thresholds: a voxel is predicted where the probability reaches one of them.
    """
    for threshold in thresholds:
        pair = MaskPair(reference, probability >= threshold, spacing=spacing, ignored=ignored)
        yield compare_pair(pair, protocol, distances=False)
