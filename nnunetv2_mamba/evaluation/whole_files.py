"""Looks at files before their readers do, which take much that is missing or wrong for background."""

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from nnunetv2_mamba.evaluation import metaimage
from nnunetv2_mamba.evaluation.errors import EvaluationError

_BLOCK = 1 << 22
_BYTE_ORDERS = {b"\x5c\x01\x00\x00": "<", b"\x00\x00\x01\x5c": ">"}
"""First bytes of a NIfTI-1 header, the number 348, and the byte order that they show."""

_HEADER = 348
_FLOATS = {16: "f4", 64: "f8"}
"""Codes of NIfTI-1 for floating-point numbers."""

_GZIP = b"\x1f\x8b"
_PNG_END = b"IEND\xaeB`\x82"


def require_whole(path: Path) -> None:
    """Refuse a file that is empty or cut off, or holds NaN, as far as its format shows it.

    What is not a file is left to its reader.

    Args:
        path: of the file.

    Raises:
        OSError: the file is empty or cut off.
        EvaluationError: a NIfTI file has values that are not finite, which SimpleITK reads as 0.
    """
    if not path.is_file():
        return
    size = path.stat().st_size
    if size == 0:
        raise OSError(f"{path} is empty (0 bytes): copy or predict it again.")
    try:
        whole = _is_whole(path)
    except (EOFError, gzip.BadGzipFile, zlib.error):
        whole = False
    if not whole:
        raise OSError(f"{path} is cut off ({size} bytes): copy or predict it again.")


def not_finite(path: Path, number: int) -> EvaluationError:
    """The error for a label map with values that are not finite.

    Args:
        path: of the file.
        number: of such voxels.
    """
    return EvaluationError(
        f"{path} has {number} voxels that are NaN or infinite: a label map holds whole numbers, so write the label "
        "that is meant there."
    )


def _is_whole(path: Path) -> bool:
    # Readers of NIfTI take a file that is called .gz and is not compressed.
    if path.name.endswith(".gz") and _starts_with(path, _GZIP):
        with gzip.open(path) as file:
            return _holds_its_voxels(file, path)
    if path.name.endswith((".nii", ".nii.gz")):
        with path.open("rb") as file:
            return _holds_its_voxels(file, path)
    if path.suffix == ".mha":
        with path.open("rb") as file:
            return metaimage.holds_its_voxels(file, path.stat().st_size)
    if path.suffix == ".png":
        with path.open("rb") as file:
            # Some programs append data after the end of the image.
            return _PNG_END in file.read()
    return True


def _starts_with(path: Path, start: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(start)) == start


def _holds_its_voxels(file: BinaryIO | gzip.GzipFile, path: Path) -> bool:
    """Whether a NIfTI-1 file is as long as its header says; reads any other file to its end."""
    header = file.read(_HEADER)
    order = _BYTE_ORDERS.get(header[:4])
    if order is None or len(header) < _HEADER:
        while file.read(_BLOCK):
            pass
        return order is None
    axes, *shape = struct.unpack_from(f"{order}8h", header, 40)
    code, bits = struct.unpack_from(f"{order}2h", header, 70)
    (offset,) = struct.unpack_from(f"{order}f", header, 108)
    if not math.isfinite(offset) or not _skip(file, int(offset) - _HEADER):
        return False
    missing, wrong = math.prod(max(size, 1) for size in shape[:axes]) * bits // 8, 0
    while missing > 0 and (block := file.read(min(_BLOCK, missing))):
        missing -= len(block)
        if kind := _FLOATS.get(code):
            values = np.frombuffer(block, f"{order}{kind}", count=len(block) * 8 // bits)
            wrong += values.size - int(np.isfinite(values).sum())
    # Only here does gzip notice that its end is missing.
    while file.read(_BLOCK):
        pass
    if wrong:
        raise not_finite(path, wrong)
    return missing <= 0


def _skip(file: BinaryIO | gzip.GzipFile, number: int) -> bool:
    """Whether a file has so many more bytes, which are read; none where the number is negative.

    A header may name the offset 0: SimpleITK then takes the voxels to lie right behind it.
    """
    # In blocks: a damaged header may name an offset that no memory holds.
    while number > 0 and (block := file.read(min(_BLOCK, number))):
        number -= len(block)
    return number <= 0
