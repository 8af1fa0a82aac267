"""Cases with their found, missed and invented lesions drawn over the image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnunetv2_mamba.evaluation.case import Pair, compare_pair
from nnunetv2_mamba.evaluation.images import read_segmentation
from nnunetv2_mamba.evaluation.parts import Part
from nnunetv2_mamba.evaluation.protocol import Protocol
from nnunetv2_mamba.evaluation.targets import Target
from nnunetv2_mamba.report import wording
from nnunetv2_mamba.report.choice import LESIONS, Choice
from nnunetv2_mamba.report.outlines import DRAWN, KINDS, largest, marks, outline
from nnunetv2_mamba.report.pictures import Pictures, read_image
from nnunetv2_mamba.report.source import Source
from nnunetv2_mamba.report.sparse import SparseLabels

STATUS = {"predicted": "right", "found": "found", "missed": "missed", "invented": "invented"}
"""Status of the parts of each of `KINDS`."""


@dataclass(frozen=True)
class Overlay:
    """A slice of a case with what one model did in it.

    Attributes:
        model: place of the model.
        width: of the picture, in its units.
        height: of the picture.
        picture: number of the image below in `Pictures`; None where there is no image.
        outlines: data of an SVG path by kind of part.
        marks: rings and arrows, likewise.
        not_drawn: how many parts of the slice are too many to draw, in words; empty where all are drawn.
        number: how many parts of each status the whole case has.
        dice: of the whole case.
    """

    model: int
    width: float
    height: float
    picture: int | None
    outlines: dict[str, str]
    marks: dict[str, str]
    not_drawn: str
    number: dict[str, int]
    dice: str


@dataclass(frozen=True)
class CaseView:
    """One case, as every model has it.

    Attributes:
        choice: the case and why it is shown.
        overlays: one a model.
        slice: which slice of a volume is shown and why; empty for an image.
        remark: what could not be shown; empty where all could.
    """

    choice: Choice
    overlays: list[Overlay]
    slice: str
    remark: str


@dataclass(frozen=True)
class _Compared:
    """One target of a case, as one model has it."""

    spacing: tuple[float, ...]
    parts: list[Part]
    lesions: SparseLabels
    components: SparseLabels
    dice: float

    @property
    def shape(self) -> tuple[int, ...]:
        return self.lesions.shape

    def of(self, kind: str) -> tuple[SparseLabels, list[Part]]:
        labels, whose = (self.lesions, "lesion") if kind in LESIONS else (self.components, "component")
        return labels, [part for part in self.parts if part.kind == whose and part.status == STATUS[kind]]


@dataclass(frozen=True)
class _Slice:
    """A slice of a volume, and the kinds of parts that it has most of."""

    axis: int
    index: int
    kinds: tuple[str, ...]


def view(choice: Choice, sources: Sequence[Source], target: Target, pictures: Pictures) -> CaseView:
    """Read a case, compare it again and draw what is found, missed and invented.

    Args:
        choice: the case, and of which models.
        sources: of all models, by place.
        target: what is drawn.
        pictures: where the image goes.

    Raises:
        OSError: a segmentation cannot be read.
    """
    compared = {model: _compare(sources[model], choice.case, target) for model in choice.models}
    first = next(iter(compared.values()))
    shared = _slice([each for each in compared.values() if each.shape == first.shape], choice.kinds)
    overlays, remarks = [], {}
    for model, each in compared.items():
        # Models whose references have other voxels cannot share a slice.
        place = shared if each.shape == first.shape else _slice([each], choice.kinds)
        number, remark = _picture(sources[model], choice.case, each, place, pictures)
        overlays.append(_overlay(model, each, place, number))
        remarks[remark] = True
    return CaseView(choice, overlays, _slice_words(first, shared), "; ".join(filter(None, remarks)))


def _compare(source: Source, case: str, target: Target) -> _Compared:
    files = source.case_files[case]
    reference = read_segmentation(source.reader, Path(files["reference_file"]))
    truth = target.mask(reference.array)
    predicted = np.zeros_like(truth)
    if files["prediction_file"]:
        predicted = target.mask(read_segmentation(source.reader, Path(files["prediction_file"])).array)
    ignored = None if source.ignore_label is None else reference.array == source.ignore_label
    protocol = Protocol.from_dict(source.summary["protocol"])
    # Distances between surfaces take most of the time and are not drawn.
    comparison = compare_pair(Pair(truth, predicted, reference.spacing, ignored), protocol, distances=False)
    lesions, components = SparseLabels.of(comparison.lesion_labels), SparseLabels.of(comparison.component_labels)
    return _Compared(reference.spacing, comparison.parts, lesions, components, comparison.metrics["DSC"])


def _slice(compared: Sequence[_Compared], kinds: tuple[str, ...]) -> _Slice | None:
    """The slice with most voxels of some kinds, over all models; None for an image."""
    if len(compared[0].shape) == 2:
        return None
    # The planes that people look at lie across the thick voxels.
    axis = int(np.argmax(compared[0].spacing))
    for wanted in (kinds, KINDS):
        voxels = np.zeros(compared[0].shape[axis])
        for each in compared:
            for kind in wanted:
                labels, parts = each.of(kind)
                voxels += labels.voxels_along(axis, parts)
        if voxels.any():
            return _Slice(axis, int(np.argmax(voxels)), wanted)
    return _Slice(axis, compared[0].shape[axis] // 2, ())


def _slice_words(compared: _Compared, place: _Slice | None) -> str:
    if place is None:
        return ""
    what = "lesion" if set(place.kinds) == set(LESIONS) else wording.listing(place.kinds)
    most = f", the one with most {what} voxels" if place.kinds and place.kinds is not KINDS else ""
    return f"slice {place.index + 1} of {compared.shape[place.axis]}{most}; numbers are of the whole volume"


def _picture(
    source: Source, case: str, compared: _Compared, place: _Slice | None, pictures: Pictures
) -> tuple[int | None, str]:
    """Number of the image of a case, and what is wrong where there is none."""
    file = source.image_file(case)
    if file is None:
        return None, "no image was found: name the folder with --images"
    cut = None if place is None else (place.axis, place.index)
    if (number := pictures.find(file, cut)) is not None:
        return number, ""
    try:
        image = read_image(source.reader, file)
    except OSError as error:
        return None, str(error)
    if image.shape[-len(compared.shape) :] != compared.shape:
        return None, f"the image {file.name} has the shape {image.shape}, its reference {compared.shape}"
    return pictures.add(file, image, cut, _scale(compared, place)), ""


def _scale(compared: _Compared, place: _Slice | None) -> list[float]:
    """Height and width of a pixel, of which the smaller is 1."""
    spacing = [width for axis, width in enumerate(compared.spacing) if place is None or axis != place.axis]
    return [width / min(spacing) for width in spacing]


def _overlay(model: int, compared: _Compared, place: _Slice | None, picture: int | None) -> Overlay:
    scale, cut = _scale(compared, place), None if place is None else (place.axis, place.index)
    outlines, marked, left = {}, {}, {}
    for kind in KINDS:
        labels, parts = compared.of(kind)
        plane = labels.plane(cut)
        chosen, left[kind] = largest(plane, [part.id for part in parts])
        outlines[kind] = outline(np.isin(plane, chosen), scale)
        if kind in ("missed", "invented"):
            marked[kind] = "".join(marks(plane, kind, chosen, scale))
    statuses = [part.status for part in compared.parts]
    height, width = plane.shape
    return Overlay(
        model=model,
        width=width * scale[1],
        height=height * scale[0],
        picture=picture,
        outlines=outlines,
        marks=marked,
        not_drawn=_not_drawn(left),
        number={status: statuses.count(status) for status in STATUS.values()},
        dice=wording.number(compared.dice),
    )


def _not_drawn(left: Mapping[str, int]) -> str:
    words = wording.listing([f"{number:,} {kind}" for kind, number in left.items() if number])
    return f"only the {DRAWN} largest of a kind are drawn, {words} are not" if words else ""
