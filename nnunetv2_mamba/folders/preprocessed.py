"""Segmentations that nnU-Net has preprocessed for a configuration, and how their voxels lie in the image."""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import blosc2
import numpy as np

from nnunetv2_mamba.evaluation.errors import EvaluationError


@dataclass(frozen=True)
class Preprocessed:
    """The preprocessed cases of a configuration; it also reads them as nnU-Net's readers read files.

    Attributes:
        folder: of the cases.
        transpose: which axis of the image each axis of theirs is.
        spacing: of the plan, one number an axis; two for a 2d configuration, which keeps the slices of a volume.
    """

    folder: Path
    transpose: tuple[int, ...]
    spacing: tuple[float, ...]

    def files(self) -> dict[str, Path]:
        """Files with the segmentations, by the name of the case."""
        blosc = {path.name.removesuffix("_seg.b2nd"): path for path in self.folder.glob("*_seg.b2nd")}
        return dict(sorted(({path.stem: path for path in self.folder.glob("*.npz")} | blosc).items()))

    def read_seg(self, seg_fname: str) -> tuple[np.ndarray, dict[str, Any]]:
        """A segmentation (1, z, y, x) and its properties, with the spacing of its own voxels.

        Args:
            seg_fname: path of the segmentation.

        Raises:
            OSError: the file or the properties of the case cannot be read.
        """
        path = Path(seg_fname)
        properties = _properties(path)
        original = [float(properties["spacing"][axis]) for axis in self.transpose]
        spacing = (*original[: len(original) - len(self.spacing)], *self.spacing)
        segmentation = _segmentation(path)
        # Outside of the non-zero part of the image nnU-Net writes -1, which it trains as background.
        return np.where(segmentation == -1, 0, segmentation), properties | {"spacing": spacing}

    def resampled(self, path: Path, shape: tuple[int, ...]) -> tuple[tuple[slice, ...], np.ndarray]:
        """The part of an image that nnU-Net has kept, and the segmentation that it made from that part.

        Args:
            path: of the segmentation.
            shape: of the image, transposed (z, y, x).

        Returns:
            Slices of the image, and the segmentation (z', y', x'), which cover the same space.

        Raises:
            OSError: the file or the properties of the case cannot be read.
            EvaluationError: the segmentation was made from an image of another shape.
        """
        segmentation, properties = self.read_seg(str(path))
        made_from = tuple(int(size) for size in properties["shape_before_cropping"])
        if made_from != shape:
            raise EvaluationError(
                f"{path} was made from an image of {_by(made_from)} voxels, and the labels of that case have "
                f"{_by(shape)} now: run nnUNetv2_preprocess again."
            )
        kept = tuple(slice(int(start), int(stop)) for start, stop in properties["bbox_used_for_cropping"])
        return kept, segmentation[0]


def _segmentation(path: Path) -> np.ndarray:
    try:
        if path.suffix == ".npz":
            return np.asarray(np.load(path)["seg"])
        # Past nnU-Net's datasets, which open the images as well.
        return np.asarray(blosc2.open(str(path), mode="r")[:])
    except Exception as error:
        raise OSError(f"{path} cannot be read ({error}): run nnUNetv2_preprocess again.") from error


def _properties(path: Path) -> dict[str, Any]:
    file = path.with_name(f"{path.name.removesuffix('_seg.b2nd').removesuffix('.npz')}.pkl")
    try:
        return pickle.loads(file.read_bytes())
    except Exception as error:
        raise OSError(f"{file} cannot be read ({error}): run nnUNetv2_preprocess again.") from error


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
