"""Label maps from the arrays that readers give: one whole number a voxel, or a sentence that says what is wrong."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from nnunetv2_mamba.evaluation.errors import EvaluationError
from nnunetv2_mamba.evaluation.whole_files import not_finite

TOLERANCE = 1e-3
"""How far a value may be from a whole number, to which it is then rounded."""

LARGEST = int(np.iinfo(np.int32).max)
"""The largest label."""


def single_channel(array: np.ndarray, path: Path) -> np.ndarray:
    """The label map (z, y, x) of an array with channels.

    Args:
        array: as nnU-Net's readers give it (1, z, y, x).
        path: of the file.

    Raises:
        EvaluationError: the file has several channels, or another number of axes.
    """
    if array.ndim == 4 and len(array) == 1:
        return array[0]
    shape = " x ".join(map(str, array.shape))
    raise EvaluationError(
        f"{path} has {array.ndim} axes ({shape}), such as channels or time: one label map is expected, so store one "
        "label for each voxel."
    )


def whole_numbers(array: np.ndarray, path: Path) -> tuple[np.ndarray, str | None]:
    """Labels as integers that 64 bits with a sign hold.

    Args:
        array: of any shape.
        path: of the file.

    Returns:
        The labels, and a warning if some values were rounded.

    Raises:
        EvaluationError: values are not finite, not within `TOLERANCE` of a whole number, or too large for a label.
    """
    if array.dtype == bool:
        return array.astype(np.uint8), None
    if array.dtype.kind in "iu":
        # What is too large for a label and fits into 64 bits with a sign is refused where the labels are known.
        if not np.can_cast(array.dtype, np.int64) and (highest := int(array.max(initial=0))) > np.iinfo(np.int64).max:
            raise _too_large(str(highest), path)
        return array, None
    # Almost every file holds whole numbers, for which one conversion and one comparison suffice.
    with np.errstate(invalid="ignore"):
        labels = array.astype(np.int32)
        if np.array_equal(labels, array):
            return labels, None
        rounded = np.rint(array)
        distance = np.abs(array - rounded)
    largest = float(distance.max(initial=0))
    if not np.isfinite(largest):
        raise not_finite(path, int(array.size - np.isfinite(array).sum()))
    if largest > TOLERANCE:
        wrong = array[distance > TOLERANCE]
        raise EvaluationError(
            f"{path} has values between labels in {len(wrong)} voxels, such as {float(wrong[0]):.9g}: a label map "
            "holds whole numbers, so resample labels with nearest neighbours."
        )
    extreme = float(np.abs(rounded).max(initial=0))
    if extreme > LARGEST:
        raise _too_large(f"{extreme:.9g}", path)
    warning = f"{path} has values that are up to {largest:.2g} from a whole number; they were rounded"
    return rounded.astype(np.int32), warning


def _too_large(value: str, path: Path) -> EvaluationError:
    return EvaluationError(
        f"{path} has values as large as {value}: this is not a label map, so store one small whole number "
        "for each voxel."
    )


def mapped(array: np.ndarray, values: Mapping[int, int]) -> np.ndarray:
    """Labels with some values replaced by others, all at once.

    Args:
        array: labels of any shape, as `whole_numbers` gives them.
        values: new value of each value that is replaced.
    """
    if not values:
        return array
    # In 32 bits, 2**32 + 1 would be the label 1.
    result = array.astype(np.int32 if np.can_cast(array.dtype, np.int32) else np.int64)
    for old, new in values.items():
        result[array == old] = new
    return result


def parse_values(words: Sequence[str] | None) -> dict[int, int]:
    """New labels by old ones, from words such as ``255=1``.

    Args:
        words: as they are on the command line; None for none.

    Raises:
        EvaluationError: a word is something else, or names a new label that 32 bits do not hold.
    """
    values = {}
    for word in words or ():
        old, _, new = word.partition("=")
        if not (old.strip().lstrip("-").isdecimal() and new.strip().isdecimal()):
            raise EvaluationError(f"--values {word} is not OLD=NEW with two labels: write for example 255=1.")
        if int(new) > LARGEST:
            raise EvaluationError(f"--values {word} names a label above {LARGEST}: write for example 255=1.")
        values[int(old)] = int(new)
    return values
