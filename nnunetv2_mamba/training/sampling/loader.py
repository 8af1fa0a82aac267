"""nnU-Net's data loader, which draws lesions where nnU-Net draws voxels of the foreground."""

from collections import deque
from typing import Any

import numpy as np
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader

from nnunetv2_mamba.training.sampling.lesions import Lesions


class LesionLoader(nnUNetDataLoader):
    """A sample that nnU-Net would centre on a voxel of the foreground shows a lesion, anywhere in the patch.

    Each of these samples draws a lesion among those of all cases, and then the place of the patch: everywhere between
    where the lesion touches one side of it and where it touches the other, as far as the image reaches. All other
    samples are nnU-Net's. NnU-Net draws a case, then a class, then a voxel, and centres the patch on it: there a lesion
    is seen as often as it has voxels, in the middle.

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
        self._waiting: deque[int | None] = deque()

    def get_indices(self) -> list[str]:
        """Cases of a batch; a sample that is to show a lesion has that of the lesion drawn for it."""
        cases = [str(case) for case in super().get_indices()]
        self._drawn = [bool(self._stock_oversamples(sample)) for sample in range(len(cases))]
        self._waiting.clear()
        for sample, drawn in enumerate(self._drawn):
            lesion = int(np.random.choice(len(self.probabilities), p=self.probabilities)) if drawn else None
            self._waiting.append(lesion)
            if lesion is not None:
                cases[sample] = self.lesions.cases[lesion]
        return cases

    def get_bbox(
        self, data_shape: np.ndarray, force_fg: bool, class_locations: Any, *arguments: Any, **options: Any
    ) -> tuple[list[int], list[int]]:
        """Where the patch of the next sample lies: first indices, and first indices behind it."""
        lesion = self._waiting.popleft()
        if lesion is None:
            return super().get_bbox(data_shape, force_fg, class_locations, *arguments, **options)
        first = [self._first_index(axis, int(length), lesion) for axis, length in enumerate(data_shape)]
        return first, [start + int(size) for start, size in zip(first, self.patch_size, strict=True)]

    def _first_index(self, axis: int, length: int, lesion: int) -> int:
        """Of the patch, which is larger than what the network sees of it by the margin of the augmentation."""
        patch, seen = int(self.patch_size[axis]), int(self.final_patch_size[axis])
        start, stop = int(self.lesions.first[lesion, axis]), int(self.lesions.behind[lesion, axis])
        margin = (patch - seen) // 2
        # A lesion that is larger than the patch fills it.
        lowest, highest = sorted((stop - seen, start))
        padding = max(int(self.need_to_pad[axis]), patch - length)
        first_allowed, last_allowed = -padding // 2, length + padding // 2 + padding % 2 - patch
        lowest = int(np.clip(lowest - margin, first_allowed, last_allowed))
        highest = int(np.clip(highest - margin, first_allowed, last_allowed))
        return int(np.random.randint(lowest, highest + 1))

    def _is_drawn(self, sample: int) -> bool:
        return self._drawn[sample]
