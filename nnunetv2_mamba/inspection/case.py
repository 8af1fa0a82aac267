"""Measures the lesions of one case."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nnunetv2_mamba.evaluation.images import SegmentationReader, Unit, read_segmentation
from nnunetv2_mamba.evaluation.lesions import Extent, label_volume, touching_border, touching_other
from nnunetv2_mamba.evaluation.protocol import Connectivity
from nnunetv2_mamba.evaluation.targets import Target
from nnunetv2_mamba.folders.preprocessed import Preprocessed
from nnunetv2_mamba.inspection.resampled import extent_after

# Label values below this are counted by indexing, anything else by sorting.
_MANY = 1 << 16


@dataclass(frozen=True)
class InspectionFiles:
    """The files of a case.

    Attributes:
        case: its name.
        labels: file with its annotation, or with its preprocessed segmentation if there is no annotation.
        preprocessed: its preprocessed segmentation; None if there is none.
    """

    case: str
    labels: Path
    preprocessed: Path | None = None


@dataclass(frozen=True)
class Job:
    """What all cases of a dataset have in common.

    Attributes:
        reader: of the label files.
        targets: classes or regions.
        ignore_label: value of voxels that nobody has annotated.
        connectivity: which voxels make one lesion.
        transpose: which axis of the image each axis of the plan is; slices are across the first.
        slicewise: whether the network sees volumes slice by slice (configuration 2d).
        grid: spacing of the plan, one number per axis; None without a plan.
        preprocessed: the preprocessed cases.
        values: new label of each value that is replaced in the label files.
    """

    reader: SegmentationReader
    targets: tuple[Target, ...]
    ignore_label: int | None = None
    connectivity: Connectivity = "corners"
    transpose: tuple[int, ...] = (0, 1, 2)
    slicewise: bool = False
    grid: tuple[float, ...] | None = None
    preprocessed: Preprocessed | None = None
    values: Mapping[int, int] = field(default_factory=dict)

    @property
    def disjoint(self) -> bool:
        """Whether no voxel can belong to two targets; otherwise it means nothing that targets touch."""
        labels = [label for target in self.targets for label in target.labels]
        return len(labels) == len(set(labels))


@dataclass(frozen=True)
class TargetLesions:
    """The n lesions of one target in one case.

    Attributes:
        annotated: their extent in the annotation.
        border: whether they touch the border of the image, bool (n,).
        touching: whether they touch another class, bool (n,); None if classes overlap or there is only one.
        resampled: their extent in the preprocessed segmentation; None if there is none.
    """

    annotated: Extent
    border: np.ndarray
    touching: np.ndarray | None
    resampled: Extent | None


@dataclass(frozen=True)
class InspectedCase:
    """One case.

    Attributes:
        case: its name.
        shape: of the image (*spatial).
        spacing: of its voxels, one number per axis.
        unit: of the spacing.
        voxels: number of voxels of each value in the whole image.
        targets: lesions of each target.
        to_plan: number of voxels of the plan in one voxel of the image, for a 2d configuration in one pixel of a slice;
            None without a plan.
        warnings: problems of the file.
    """

    case: str
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    unit: Unit
    voxels: dict[float, int]
    targets: dict[str, TargetLesions]
    to_plan: float | None
    warnings: tuple[str, ...] = ()

    @property
    def dimensions(self) -> int:
        """2 for an image, 3 for a volume."""
        return len(self.shape)

    def sizes(self, target: str) -> np.ndarray:
        """Size of each lesion in mm^3, mm^2 or pixels (n,)."""
        return self.targets[target].annotated.voxels * float(np.prod(self.spacing))


def inspect_case(job: Job, files: InspectionFiles) -> InspectedCase:
    """Read and measure one case.

    Raises:
        OSError: a file cannot be read.
        EvaluationError: the labels are not one whole number per voxel, or the preprocessed case was made from another
            image.
    """
    segmentation = read_segmentation(job.reader, files.labels, job.values)
    flat = segmentation.array.ndim == 2
    volume = segmentation.array[None] if flat else segmentation.array.transpose(job.transpose)
    spacing = segmentation.spacing if flat else tuple(segmentation.spacing[axis] for axis in job.transpose)
    voxels, labels = _values(volume), volume.astype(np.int32)
    return InspectedCase(
        case=files.case,
        shape=segmentation.array.shape,
        spacing=segmentation.spacing,
        unit=segmentation.unit,
        voxels=voxels,
        targets=_lesions(job, files, labels),
        to_plan=_voxels_of_plan(spacing, job.grid),
        warnings=segmentation.warnings,
    )


def _lesions(job: Job, files: InspectionFiles, labels: np.ndarray) -> dict[str, TargetLesions]:
    resampled = None
    if job.preprocessed is not None and files.preprocessed is not None:
        kept, resampled = job.preprocessed.resampled(files.preprocessed, labels.shape)
    foreground = np.isin(labels, [label for target in job.targets for label in target.labels])
    result = {}
    for target in job.targets:
        mask = target.mask(labels)
        lesions, number, box = label_volume(mask, job.connectivity)
        touching = None
        if job.disjoint and len(job.targets) > 1:
            other = foreground[box] & ~mask[box]
            touching = touching_other(lesions[box], number, other=other, connectivity=job.connectivity)
        result[target.name] = TargetLesions(
            annotated=Extent.of(lesions[box], number),
            border=touching_border(lesions, number),
            touching=touching,
            resampled=None if resampled is None else extent_after(lesions[kept], number, target.mask(resampled)),
        )
    return result


def _values(volume: np.ndarray) -> dict[float, int]:
    """Number of voxels of each value; values that are not whole numbers are counted too."""
    counts: dict[float, int] = {}
    for plane in volume:
        whole = plane.astype(np.int64)
        small = whole.min() >= 0 and whole.max() < _MANY
        if small and np.array_equal(whole, plane):
            found = np.bincount(whole.ravel())
            pairs = [(float(value), int(found[value])) for value in np.flatnonzero(found)]
        else:
            values, numbers = np.unique(plane, return_counts=True)
            pairs = list(zip(values.tolist(), numbers.tolist(), strict=True))
        for value, number in pairs:
            counts[value] = counts.get(value, 0) + number
    return counts


def _voxels_of_plan(spacing: tuple[float, ...], grid: tuple[float, ...] | None) -> float | None:
    return None if grid is None else float(np.prod(spacing[-len(grid) :]) / np.prod(grid))
