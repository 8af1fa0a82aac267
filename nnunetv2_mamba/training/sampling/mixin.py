"""Sampling by lesions as one more base class of any nnU-Net trainer."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from batchgenerators.dataloading.nondet_multi_threaded_augmenter import NonDetMultiThreadedAugmenter
from batchgenerators.dataloading.single_threaded_augmenter import SingleThreadedAugmenter
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.default_n_proc_DA import get_allowed_n_proc_DA

from nnunetv2_mamba.training.sampling.lesions import Lesions, SamplingError, lesion_boxes
from nnunetv2_mamba.training.sampling.loader import LesionLoader

WORKERS_VARIABLE = "nnUNet_n_proc_DA"


class LesionSamplingMixin(nnUNetTrainer):
    """Draws lesions where nnU-Net draws foreground voxels: ``class T(LesionSamplingMixin, SomeTrainer)``.

    Each lesion is drawn as often. The share of these patches stays nnU-Net's, and so do all other patches and the
    validation. Every connected component of every class counts as a lesion. It works in 2-D and 3-D, with classes and
    regions. With an ignore label, patches without a lesion are drawn among the annotated voxels, as nnU-Net does.

    Attributes:
        lesion_size_exponent: a lesion of n voxels is drawn in proportion to n^-exponent; 0 for all alike.
    """

    lesion_size_exponent: ClassVar[float] = 0.0

    def get_dataloaders(self) -> tuple[Any, Any]:
        """nnU-Net's loaders, the training one with lesions.

        Raises:
            SamplingError: no training case has a lesion, or the trainer's loaders are not nnU-Net's.
        """
        # Without workers, the loaders themselves can be reached; the workers are started afterwards.
        with _no_workers():
            training, validation = super().get_dataloaders()
        stock = getattr(training, "data_loader", training)
        if type(stock) is not nnUNetDataLoader or not isinstance(validation, SingleThreadedAugmenter):
            raise SamplingError(
                f"{type(self).__name__} has data loaders of its own ({type(stock).__name__}), which cannot sample "
                "by lesions: put LesionSamplingMixin in front of a trainer that loads as nnU-Net does."
            )
        lesions = self._lesions(stock._data)
        loader = LesionLoader(stock, lesions, lesions.probabilities(self.lesion_size_exponent))
        workers = get_allowed_n_proc_DA()
        return (
            _started(loader, workers, cached=max(6, workers // 2), pin=self.device.type == "cuda"),
            _started(
                validation.data_loader,
                workers and max(1, workers // 2),
                cached=max(3, workers // 4),
                pin=self.device.type == "cuda",
            ),
        )

    def _lesions(self, dataset: Any) -> Lesions:
        labels = self.label_manager
        classes = labels.foreground_regions if labels.has_regions else labels.foreground_labels
        boxes = lesion_boxes(Path(dataset.source_folder), dataset.identifiers, classes).of_all(
            ddp=self.is_ddp, say=lambda line: self.print_to_log_file(f"lesion sampling: {line}")
        )
        lesions = Lesions.of_boxes(boxes)
        self.print_to_log_file(
            f"lesion sampling: {len(lesions.cases)} lesions in {len(set(lesions.cases))} of {len(boxes)} training cases"
        )
        return lesions


@contextmanager
def _no_workers() -> Iterator[None]:
    """nnU-Net starts no worker processes."""
    before = os.environ.get(WORKERS_VARIABLE)
    os.environ[WORKERS_VARIABLE] = "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ[WORKERS_VARIABLE]
        else:
            os.environ[WORKERS_VARIABLE] = before


def _started(loader: Any, workers: int, *, cached: int, pin: bool) -> Any:
    """Batches of a loader, by as many worker processes; nnU-Net starts its own alike."""
    if not workers:
        return SingleThreadedAugmenter(loader, None)
    batches = NonDetMultiThreadedAugmenter(
        data_loader=loader,
        transform=None,
        num_processes=workers,
        num_cached=cached,
        seeds=None,
        pin_memory=pin,
        wait_time=0.002,
    )
    next(batches)
    return batches
