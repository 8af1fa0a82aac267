"""Cases as pictures: true positive and missed lesions and false positives, outlined over the image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnunetv2_mamba.evaluation.case import Comparison, MaskPair, compare_pair
from nnunetv2_mamba.evaluation.froc import probabilities_of
from nnunetv2_mamba.evaluation.images import Segmentation, read_segmentation
from nnunetv2_mamba.evaluation.operating_point import OperatingPoints, decide
from nnunetv2_mamba.evaluation.protocol import Protocol
from nnunetv2_mamba.evaluation.targets import Target
from nnunetv2_mamba.report import wording
from nnunetv2_mamba.report.choice import Choice
from nnunetv2_mamba.report.outlines import outline
from nnunetv2_mamba.report.pictures import Pictures, read_image
from nnunetv2_mamba.report.reported_model import ReportedModel

KINDS = {
    "predicted": ("component", "true_positive"),
    "true_positive": ("lesion", "true_positive"),
    "missed": ("lesion", "missed"),
    "false_positive": ("component", "false_positive"),
}
"""Kind and status of the parts that have an outline of their own, in the order of drawing."""

WRONG = ("missed", "false_positive")

Slice = tuple[int, int] | None
"""Axis and index of a slice of a volume; None for an image."""


@dataclass(frozen=True, kw_only=True)
class Overlay:
    """A slice of a case with the result of one model.

    Attributes:
        model: index of the model.
        width: of the picture, in its own units.
        height: of the picture.
        picture: number of the image in `Pictures`; None where there is no image.
        outlines: data of an SVG path, for each of `KINDS`.
        number: parts of each of `KINDS` in the whole case.
        dice: of the whole case.
    """

    model: int
    width: float
    height: float
    picture: int | None
    outlines: dict[str, str]
    number: dict[str, int]
    dice: str


@dataclass(frozen=True)
class CaseView:
    """One case with the results of all models.

    Attributes:
        choice: the case and why it is shown.
        overlays: one for each model.
        slice: which slice of a volume is shown; empty for an image.
        remark: why there is no image; empty where there is one.
    """

    choice: Choice
    overlays: list[Overlay]
    slice: str
    remark: str


@dataclass(frozen=True)
class _Compared:
    """One target of a case by one model."""

    comparison: Comparison
    spacing: tuple[float, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.comparison.matched.shape

    def parts(self, kind: str) -> list[int]:
        """Numbers of the parts of one of `KINDS`."""
        return [part.id for part in self.comparison.parts if (part.kind, part.status) == KINDS[kind]]

    def labels(self, kind: str) -> np.ndarray:
        """Number of the part at each voxel of the window (*spatial)."""
        matched = self.comparison.matched
        return (matched.lesions if KINDS[kind][0] == "lesion" else matched.components).labels

    def voxels_along(self, axis: int, kinds: Sequence[str]) -> np.ndarray:
        """Voxels of parts of some kinds in each slice across an axis (slices,)."""
        voxels = np.zeros(self.shape[axis])
        others = tuple(other for other in range(len(self.shape)) if other != axis)
        for kind in kinds:
            voxels[self.comparison.matched.window[axis]] += np.isin(self.labels(kind), self.parts(kind)).sum(
                axis=others
            )
        return voxels

    def plane(self, kind: str, place: Slice) -> np.ndarray:
        """Number of the part at each pixel of a slice (H, W)."""
        labels, window = self.labels(kind), self.comparison.matched.window
        if place is not None:
            axis, index = place
            axes = [other for other in range(3) if other != axis]
            inside = window[axis].start <= index < window[axis].stop
            # Only the window is expanded: a volume of labels may be too large for several models.
            labels = np.take(labels, index - window[axis].start, axis) if inside else np.zeros_like(labels.min(axis))
            window = tuple(window[other] for other in axes)
        plane = np.zeros(_without(self.shape, place), dtype=labels.dtype)
        plane[window] = labels
        return plane


def view(choice: Choice, models: Sequence[ReportedModel], target: Target, pictures: Pictures) -> CaseView:
    """Read a case, compare it again and outline its lesions and components.

    Args:
        choice: the case and the models.
        models: all models.
        target: what is drawn.
        pictures: store of the images.

    Raises:
        OSError: a segmentation cannot be read.
    """
    compared = {model: _compare(models[model], choice.case, target) for model in choice.models}
    first = next(iter(compared.values()))
    shared = _slice([each for each in compared.values() if each.shape == first.shape])
    overlays, remarks = [], {}
    for model, each in compared.items():
        # Models whose references have other voxels cannot share a slice.
        place = shared if each.shape == first.shape else _slice([each])
        number, remark = _picture(models[model], choice.case, each, place=place, pictures=pictures)
        overlays.append(_overlay(model, each, place=place, picture=number))
        remarks[remark] = True
    words = ""
    if shared is not None:
        words = f"slice {shared[1] + 1} of {first.shape[shared[0]]}; numbers are of the whole volume"
    return CaseView(choice, overlays, slice=words, remark="; ".join(filter(None, remarks)))


def _compare(model: ReportedModel, case: str, target: Target) -> _Compared:
    files = model.case_files[case]
    values = {int(old): new for old, new in model.summary.get("values", {}).items()}
    reference = read_segmentation(model.reader, Path(files["reference_file"]), values)
    truth = target.mask(reference.array)
    predicted = np.zeros_like(truth)
    if files["prediction_file"]:
        predicted = target.mask(read_segmentation(model.reader, Path(files["prediction_file"]), values).array)
        if content := model.summary.get("operating_points"):
            probabilities = Path(files["prediction_file"]).parent / f"{case}.npz"
            predicted = target.mask(_decided(model, probabilities, content, reference))
    ignored = None if model.ignore_label is None else reference.array == model.ignore_label
    pair = MaskPair(truth, predicted, spacing=reference.spacing, ignored=ignored)
    # Distances between surfaces take most of the time and are not drawn.
    comparison = compare_pair(pair, Protocol.from_dict(model.summary["protocol"]), distances=False)
    return _Compared(comparison, reference.spacing)


def _decided(model: ReportedModel, file: Path, content: Mapping[str, Any], reference: Segmentation) -> np.ndarray:
    """The label map that was evaluated, which is not the one that is stored."""
    targets = [Target(name, tuple(entry["labels"])) for name, entry in model.summary["targets"].items()]
    probabilities = probabilities_of(file, targets, reference.array.shape)
    return decide(probabilities, targets, OperatingPoints.from_dict(content), spacing=reference.spacing)


def _slice(compared: Sequence[_Compared]) -> Slice:
    """The slice with most voxels of missed lesions and false positives over all models, else of any part."""
    if len(compared[0].shape) == 2:
        return None
    # Slices are usually viewed across the axis with the thickest voxels.
    axis = int(np.argmax(compared[0].spacing))
    for kinds in (WRONG, tuple(KINDS)):
        voxels = sum(each.voxels_along(axis, kinds) for each in compared)
        if np.any(voxels):
            return axis, int(np.argmax(voxels))
    return axis, compared[0].shape[axis] // 2


def _picture(
    model: ReportedModel, case: str, compared: _Compared, *, place: Slice, pictures: Pictures
) -> tuple[int | None, str]:
    """Number of the image of a case, and the reason where there is none."""
    file = model.image_file(case)
    if file is None:
        return None, "no image was found: name the folder with --images"
    if (number := pictures.find(file, place)) is not None:
        return number, ""
    try:
        image = read_image(model.reader, file)
    except OSError as error:
        return None, str(error)
    if image.shape[-len(compared.shape) :] != compared.shape:
        return None, f"the image {file.name} has the shape {image.shape}, its reference {compared.shape}"
    return pictures.add(file, image, place=place, scale=_scale(compared, place)), ""


def _without(values: tuple, place: Slice) -> list:
    """The values of the axes within a slice."""
    return [value for axis, value in enumerate(values) if place is None or axis != place[0]]


def _scale(compared: _Compared, place: Slice) -> list[float]:
    """Height and width of a pixel; the smaller one is 1."""
    spacing = _without(compared.spacing, place)
    return [width / min(spacing) for width in spacing]


def _overlay(model: int, compared: _Compared, *, place: Slice, picture: int | None) -> Overlay:
    scale = _scale(compared, place)
    height, width = _without(compared.shape, place)
    masks = {kind: np.isin(compared.plane(kind, place), compared.parts(kind)) for kind in KINDS}
    return Overlay(
        model=model,
        width=width * scale[1],
        height=height * scale[0],
        picture=picture,
        outlines={kind: outline(mask, scale) for kind, mask in masks.items()},
        number={kind: len(compared.parts(kind)) for kind in KINDS},
        dice=wording.number(compared.comparison.metrics["DSC"]),
    )
