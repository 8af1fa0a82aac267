"""Masks drawn as text, so that a reader can count the voxels, and what tests ask of a comparison."""

import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnunetv2_mamba.evaluation.case import Comparison, compare
from nnunetv2_mamba.evaluation.folder import CaseFiles
from nnunetv2_mamba.evaluation.protocol import Protocol

# What a file says that ends the process which reads it.
KILLS = "kill"


def drawn(text: str) -> np.ndarray:
    """An array of characters: (y, x) of lines without blanks, (z, y, x) where a line shows several slices."""
    lines = [line.split() for line in text.strip().splitlines()]
    slices = [np.array([list(rows) for rows in column]) for column in zip(*lines, strict=True)]
    return np.stack(slices) if len(slices) > 1 else slices[0]


def labels(text: str) -> np.ndarray:
    """A label map, where digits are labels and a dot is background."""
    characters = drawn(text)
    return np.where(characters == ".", "0", characters).astype(np.uint8)


def masks(text: str) -> tuple[np.ndarray, np.ndarray]:
    """Reference and prediction: ``r`` is only in the reference, ``p`` only in the prediction, ``#`` in both."""
    characters = drawn(text)
    return (characters == "r") | (characters == "#"), (characters == "p") | (characters == "#")


def compared(
    text: str, spacing: Sequence[float] | None = None, ignored: np.ndarray | None = None, **rules: Any
) -> Comparison:
    """The comparison of a drawing under the default protocol with some other rules."""
    reference, prediction = masks(text)
    return compare(reference, prediction, spacing or [1.0] * reference.ndim, Protocol(**rules), ignored)


def statuses(comparison: Comparison) -> tuple[list[str], list[str]]:
    """What became of each lesion, and of each component."""
    return [part.status for part in comparison.lesions], [part.status for part in comparison.components]


@dataclass(frozen=True)
class DrawingReader:
    """Reads label maps from text files, in the way of nnU-Net's readers.

    Attributes:
        spacing: of the voxels, one number an axis; pixels without a size unless given.
    """

    spacing: tuple[float, ...] | None = None

    def read_seg(self, path: str) -> tuple[np.ndarray, dict[str, Any]]:
        """Labels (1, z, y, x), or (1, 1, y, x) of an image."""
        text = Path(path).read_text()
        if text == KILLS:
            os.kill(os.getpid(), signal.SIGKILL)
        array = labels(text).astype(np.float32)
        spacing = self.spacing or (1.0,) * array.ndim
        if array.ndim == 2:
            return array[None, None], {"spacing": (999.0 * max(spacing), *spacing)}
        return array[None], {"spacing": spacing}


def cases_of(folder: Path, drawings: Mapping[str, tuple[str, str | None]]) -> list[CaseFiles]:
    """Write references and predictions of cases, and say where they are."""
    cases = []
    for name, texts in drawings.items():
        paths = [folder / kind / f"{name}.txt" for kind in ("reference", "prediction")]
        for path, text in zip(paths, texts, strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            if text is not None:
                path.write_text(text)
        cases.append(CaseFiles(name, paths[0], None if texts[1] is None else paths[1]))
    return cases
