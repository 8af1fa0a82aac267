"""Small models for reports: label maps in files, a reader for them, and their evaluation."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from nnunetv2_mamba.evaluation.folder import CaseFiles, Settings, evaluate_files
from nnunetv2_mamba.evaluation.protocol import Protocol
from nnunetv2_mamba.evaluation.targets import Target
from nnunetv2_mamba.report import ReportedModel

TARGETS = (Target("lesion", (1,)), Target("vessel", (2,)))
SIDE = 40


class ArrayReader:
    """Reads arrays as nnU-Net's readers give images and segmentations."""

    spacing = (999.0, 1.0, 1.0)

    def read_seg(self, path: str) -> tuple[np.ndarray, dict]:
        return np.load(path)[None], {"spacing": self.spacing}

    def read_images(self, paths: Sequence[str]) -> tuple[np.ndarray, dict]:
        return np.load(paths[0]).astype(np.float32), {"spacing": self.spacing}


class VolumeReader(ArrayReader):
    """The same for volumes of thick slices, whose slices are the second axis."""

    spacing = (1.0, 4.0, 2.0)


def squares(places: Iterable[tuple[int, int, int, int]]) -> np.ndarray:
    """A label map (1, SIDE, SIDE) with squares at (row, column) of a side and a label."""
    array = np.zeros((1, SIDE, SIDE), dtype=np.uint8)
    for row, column, side, label in places:
        array[0, row : row + side, column : column + side] = label
    return array


def random_lesions(rng: np.random.Generator, number: int) -> list[tuple[int, int, int, int]]:
    """Squares of 1 to 4 pixels a side that touch nowhere."""
    cells = rng.permutation(36)[:number]
    return [(6 * int(c // 6) + 1, 6 * int(c % 6) + 1, int(rng.integers(1, 5)), 1) for c in cells]


def model(
    folder: Path,
    name: str,
    recall: float,
    cases: Sequence[str] = tuple(f"case_{number:02d}" for number in range(12)),
    *,
    protocol: Protocol | None = None,
    sensitivity: Sequence[Protocol] = (),
    images: bool = True,
    seed: int = 0,
    cost: dict | None = None,
    targets: Sequence[Target] = TARGETS[:1],
) -> ReportedModel:
    """A model that finds a share of the lesions, with a false positive in some cases; every sixth case has no lesion.

    Args:
        folder: for all files; references and images in it are equal for equal cases.
        name: of the model.
        recall: share of the lesions that it finds, on average.
        cases: names of its cases.
        protocol: the rules.
        sensitivity: other rules.
        images: whether there are images.
        seed: of the lesions that it finds.
        cost: of its training.
        targets: what is evaluated.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "images").mkdir(exist_ok=True)
    chance = np.random.default_rng(seed)
    files = []
    for place, case in enumerate(cases):
        drawing = np.random.default_rng(sum(map(ord, case)))
        lesions = [] if place % 6 == 5 else random_lesions(drawing, 6)
        kept = [lesion for lesion in lesions if chance.random() < recall]
        false_positives = [(38, 38, 2, 1)] if place % 3 == 0 else []
        reference, prediction = folder / f"reference_{place}.npy", folder / f"{name.encode().hex()[:40]}_{place}.npy"
        np.save(reference, squares([*lesions, (37, 1, 3, 2)]))
        np.save(prediction, squares([*kept, *false_positives, (37, 2, 3, 2)]))
        if images and "/" not in case:
            np.save(folder / "images" / f"{case}_0000.npy", drawing.normal(100, 20, (1, 1, SIDE, SIDE)))
        files.append(CaseFiles(case, reference, prediction))
    settings = Settings(ArrayReader(), targets, protocol or Protocol(), sensitivity=sensitivity)
    evaluation = evaluate_files(files, settings, about={"image_folder": str(folder / "images")})
    return ReportedModel(name, evaluation.summary, evaluation.lesions, ArrayReader(), cost=cost)
