"""nnU-Net's data loader, which draws lesions where nnU-Net draws voxels of the foreground."""

from collections import deque
from typing import Any

import numpy as np
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader

from nnunetv2_mamba.training.sampling.lesions import Lesions


class LesionLoader(nnUNetDataLoader):
    """A sample that nnU-Net would centre on a voxel of the foreground shows a lesion, anywhere in the patch.

    Each of these samples draws a lesion among those of all cases, one of its voxels, and then the place of the patch. A
    lesion that fits into the patch lies anywhere in it, as far as the image reaches. Of a larger one, the voxel does.
    All other samples are nnU-Net's. nnU-Net itself draws a case, then a class, then a voxel, and centres the patch on
    it: there a lesion is seen as often as it has voxels, in the middle.

    Args:
        stock: nnU-Net's loader of the training cases, which has not been started.
        lesions: those of these cases.
        probabilities: of each lesion (n,).
    """

    # A copy, so that whatever nnU-Net or a trainer has set on its loader stays as it is.
    def __init__(self, stock: nnUNetDataLoader, lesions: Lesions, probabilities: np.ndarray) -> None:
        self.__dict__.update(stock.__dict__)
        self.lesions = lesions
        self.probabilities = probabilities
        self._stock_oversamples = stock.get_do_oversample
        self.get_do_oversample = self._is_drawn
        self._drawn: list[bool] = []
        self._waiting: deque[tuple[int, np.ndarray] | None] = deque()

    def get_indices(self) -> list[str]:
        """Cases of a batch; a sample that is to show a lesion has that of the lesion drawn for it."""
        cases = [str(case) for case in super().get_indices()]
        self._drawn = [bool(self._stock_oversamples(sample)) for sample in range(len(cases))]
        self._waiting.clear()
        for sample, drawn in enumerate(self._drawn):
            self._waiting.append(self._draw() if drawn else None)
            if (found := self._waiting[-1]) is not None:
                cases[sample] = self.lesions.cases[found[0]]
        return cases

    def _draw(self) -> tuple[int, np.ndarray]:
        """A lesion and one of its voxels."""
        lesion = int(np.random.choice(len(self.probabilities), p=self.probabilities))
        anchors = self.lesions.anchors[lesion]
        return lesion, anchors[np.random.randint(len(anchors))]

    def get_bbox(
        self, data_shape: np.ndarray, force_fg: bool, class_locations: Any, *arguments: Any, **options: Any
    ) -> tuple[list[int], list[int]]:
        """Where the patch of the next sample lies: first indices, and first indices behind it."""
        found = self._waiting.popleft()
        if found is None:
            return super().get_bbox(data_shape, force_fg, class_locations, *arguments, **options)
        first = [self._first_index(axis, int(length), *found) for axis, length in enumerate(data_shape)]
        return first, [start + int(size) for start, size in zip(first, self.patch_size, strict=True)]

    def _first_index(self, axis: int, length: int, lesion: int, anchor: np.ndarray) -> int:
        """Of the patch, which is larger than what the network sees of it by the margin of the augmentation."""
        patch, seen = int(self.patch_size[axis]), int(self.final_patch_size[axis])
        start, stop = int(self.lesions.start[lesion, axis]), int(self.lesions.stop[lesion, axis])
        if stop - start > seen:
            start, stop = int(anchor[axis]), int(anchor[axis]) + 1
        lowest, highest, margin = stop - seen, start, (patch - seen) // 2
        padding = max(int(self.need_to_pad[axis]), patch - length)
        first_allowed, last_allowed = -padding // 2, length + padding // 2 + padding % 2 - patch
        lowest = int(np.clip(lowest - margin, first_allowed, last_allowed))
        highest = int(np.clip(highest - margin, first_allowed, last_allowed))
        return int(np.random.randint(lowest, highest + 1))

    def _is_drawn(self, sample: int) -> bool:
        return self._drawn[sample]
