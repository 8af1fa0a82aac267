"""Segmentations that nnU-Net has preprocessed, as its trainers read them."""

from pathlib import Path
from typing import Any

import blosc2
import numpy as np


def segmentation_file(folder: Path, case: str) -> Path:
    """The file with the segmentation of a case.

    Args:
        folder: of the preprocessed cases.
        case: its name.

    Raises:
        FileNotFoundError: there is none.
    """
    for name in (f"{case}_seg.b2nd", f"{case}.npz"):
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(
        f"training case {case} has neither {case}_seg.b2nd nor {case}.npz in {folder}: "
        "run nnUNetv2_preprocess again, or take the case out of splits_final.json."
    )


def open_segmentation(file: Path) -> Any:
    """Open a preprocessed segmentation (1, z, y, x), of which nothing is read before it is indexed.

    Labels are negative where nnU-Net cropped around the image.
    """
    # Past nnU-Net's datasets, which also unpickle the properties of the case, often larger than its segmentation.
    return blosc2.open(str(file), mode="r") if file.suffix == ".b2nd" else np.load(file)["seg"]
