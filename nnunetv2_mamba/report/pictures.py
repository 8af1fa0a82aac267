"""Images below the outlines: read, cut to a slice and reduced to the size of a page."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

MAX_SIDE = 1000
"""Largest number of pixels of the longer side."""

LOSSLESS_PIXELS = 128 * 128
"""Smaller pictures are PNG, larger ones JPEG."""

SAMPLES = 500_000
"""Voxels of a volume that determine its grey levels."""


@dataclass(frozen=True)
class Picture:
    """An image below overlays.

    Attributes:
        width: in the units of the overlays.
        height: in the same units.
        uri: data URI of the image.
    """

    width: float
    height: float
    uri: str


class Pictures:
    """Images of the page; overlays that show the same image share it."""

    def __init__(self) -> None:
        self.all: list[Picture] = []
        self._numbers: dict[tuple[Path, tuple[int, int] | None], int] = {}

    def find(self, file: Path, place: tuple[int, int] | None) -> int | None:
        """Number of a picture; None if it was not added yet."""
        return self._numbers.get((file, place))

    def add(self, file: Path, image: np.ndarray, *, place: tuple[int, int] | None, scale: Sequence[float]) -> int:
        """Add a picture, and return its number.

        Args:
            file: of the image.
            image: (*spatial) or (3, *spatial).
            place: axis and index of the slice of a volume; None for an image.
            scale: height and width of a pixel in the units of the picture.
        """
        pixels = image if place is None else np.take(image, place[1], axis=place[0] - 3)
        height, width = (side * unit for side, unit in zip(pixels.shape[-2:], scale, strict=True))
        self._numbers[file, place] = len(self.all)
        self.all.append(Picture(width, height, data_uri(pixels, grey_levels(image))))
        return len(self.all) - 1


def read_image(reader: Any, file: Path) -> np.ndarray:
    """First channel of a case, or the three colours of a photograph.

    Args:
        reader: of nnU-Net.
        file: of the first channel; the file of a photograph contains all colours.

    Returns:
        (*spatial), or (3, *spatial) of a photograph; without the axis of length 1 that nnU-Net adds to an image.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        image, _ = reader.read_images((str(file),))
    except Exception as error:
        # Each of nnU-Net's readers raises what its library raises.
        raise OSError(f"{file} cannot be read as an image: {error}") from error
    if image.shape[1] == 1:
        image = image[:, 0]
    return image if len(image) == 3 else image[0]


def grey_levels(image: np.ndarray) -> tuple[float, float]:
    """Values that are shown as black and as white."""
    if image.size and image.min() >= 0 and 127 < image.max() <= 255:
        return 0.0, 255.0
    sample = image.ravel()[:: max(image.size // SAMPLES, 1)]
    low, high = np.nanpercentile(sample, (0.5, 99.5)).tolist() if image.size else (0.0, 1.0)
    return low, high if high > low else low + 1.0


def data_uri(pixels: np.ndarray, levels: Sequence[float]) -> str:
    """Pixels as a picture inside the page.

    Args:
        pixels: (H, W) or (3, H, W).
        levels: values that are shown as black and as white.
    """
    low, high = levels
    shown = np.nan_to_num(np.clip((pixels.astype(np.float32) - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    picture = Image.fromarray(shown if shown.ndim == 2 else np.moveaxis(shown, 0, -1))
    picture.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    small = picture.width * picture.height <= LOSSLESS_PIXELS
    buffer = io.BytesIO()
    picture.save(buffer, **({"format": "PNG"} if small else {"format": "JPEG", "quality": 88}))
    return f"data:image/{'png' if small else 'jpeg'};base64,{base64.b64encode(buffer.getvalue()).decode()}"
