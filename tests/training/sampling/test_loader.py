"""Which lesions the loader draws, and where in the patch they lie."""

from collections import Counter
from typing import ClassVar

import numpy as np
import pytest
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from scipy import stats

from nnunetv2_mamba.training.sampling.lesions import Lesions
from nnunetv2_mamba.training.sampling.loader import LesionLoader

SEEN = 16


class Cases:
    """What a loader reads of a dataset before it loads anything."""

    identifiers = ("a", "b", "c")


class Labels:
    all_labels: ClassVar = [0, 1]
    has_ignore_label = False


def make_loader(boxes, patch=(24, 24), seen=(SEEN, SEEN), exponent=0.0, share=1.0, batch_size=4) -> LesionLoader:
    stock = nnUNetDataLoader(Cases(), batch_size, patch, seen, Labels(), oversample_foreground_percent=share)
    lesions = Lesions.of_boxes(boxes)
    return LesionLoader(stock, lesions, lesions.probabilities(exponent))


def box(first: tuple[int, ...], size: int | tuple[int, ...], voxels: int = 1) -> list[int]:
    sizes = (size,) * len(first) if isinstance(size, int) else size
    return [voxels, 0, *first, 1, *(start + length for start, length in zip(first, sizes, strict=True)), 0, *first]


def offsets(loader: LesionLoader, shape: tuple[int, ...], number: int = 3000) -> np.ndarray:
    """First index of what the network sees of the patches, per axis."""
    np.random.seed(0)
    found = []
    while len(found) < number:
        for _ in loader.get_indices():
            first, behind = loader.get_bbox(np.array(shape), True, None)
            assert [stop - start for start, stop in zip(first, behind, strict=True)] == list(loader.patch_size)
            found.append(
                [
                    start + (patch - seen) // 2
                    for start, patch, seen in zip(first, loader.patch_size, loader.final_patch_size, strict=True)
                ]
            )
    return np.array(found[:number])


def drawn(loader: LesionLoader, number: int = 6000) -> Counter:
    np.random.seed(0)
    cases: list[str] = []
    while len(cases) < number:
        cases += loader.get_indices()
    return Counter(cases[:number])


def test_every_lesion_is_drawn_as_often_whatever_its_size_and_its_case():
    boxes = {"a": [box((5, 5), 2, 4)], "b": [box((9, 9), 20, 400), box((50, 50), 1)], "c": []}
    found = drawn(make_loader(boxes))
    assert stats.chisquare([found["a"], found["b"]], [2000, 4000]).pvalue > 0.01
    assert found["c"] == 0


def test_small_lesions_can_be_preferred():
    boxes = {"a": [box((5, 5), 1, 1)], "b": [box((9, 9), 2, 4)], "c": [box((9, 9), 4, 16)]}
    found = drawn(make_loader(boxes, exponent=0.5))
    expected = [6000 * share / 7 for share in (4, 2, 1)]
    assert stats.chisquare([found[case] for case in "abc"], expected).pvalue > 0.01


def test_the_share_of_lesions_is_nnunets():
    loader = make_loader({"a": [box((5, 5), 2)]}, share=0.33, batch_size=12)
    for _ in range(20):
        cases = loader.get_indices()
        assert [loader.get_do_oversample(sample) for sample in range(12)] == [False] * 8 + [True] * 4
        assert cases[8:] == ["a"] * 4


@pytest.mark.parametrize("size", [1, 3, 10])
def test_a_lesion_lies_anywhere_in_what_the_network_sees(size):
    found = 100 - offsets(make_loader({"a": [box((100, 100), size)]}), (1, 200, 200))[:, 1:]
    places = SEEN - size + 1
    for axis in range(2):
        counts = np.bincount(found[:, axis], minlength=places)
        assert len(counts) == places
        assert stats.chisquare(counts).pvalue > 0.01
    assert abs(np.corrcoef(found.T)[0, 1]) < 0.06


def test_of_a_larger_lesion_one_of_its_voxels_lies_anywhere():
    """A thin line along the diagonal, which most patches inside of its box would miss."""
    line = [60, 0, 60, 60, 1, 120, 120, *(index for step in (0, 20, 40, 59) for index in (0, 60 + step, 60 + step))]
    found = offsets(make_loader({"a": [line]}), (1, 200, 200))[:, 1:]
    steps = np.arange(60, 120)
    seen = [((steps >= start.max()) & (steps < start.min() + SEEN)).any() for start in found]
    assert all(seen)
    assert len(np.unique(found, axis=0)) > 500


@pytest.mark.parametrize(
    ("first", "shape"), [((0, 0), (40, 40)), ((37, 38), (40, 40)), ((3, 2), (9, 40)), ((0, 1), (4, 4))]
)
def test_at_a_border_patches_stay_where_nnunet_has_them(first, shape):
    loader = make_loader({"a": [box(first, 2)]})
    found = offsets(loader, (1, *shape))[:, 1:]
    for axis in range(2):
        # The lesion is seen, and nothing of the patch lies outside that could lie inside.
        assert (found[:, axis] <= first[axis]).all()
        assert (found[:, axis] + SEEN >= first[axis] + 2).all()
        if shape[axis] >= SEEN:
            assert found[:, axis].min() >= 0
            assert found[:, axis].max() <= shape[axis] - SEEN
        stock = nnUNetDataLoader.get_bbox
        drawn_by_nnunet = np.array([stock(loader, np.array((1, *shape)), False, None)[0] for _ in range(500)])[
            :, axis + 1
        ]
        assert found[:, axis].min() >= drawn_by_nnunet.min() + 4
        assert found[:, axis].max() <= drawn_by_nnunet.max() + 4


def test_slices_of_a_volume_cross_the_lesion():
    boxes = {"a": [[30, 7, 20, 20, 12, 23, 24, *(index for z in range(7, 12) for index in (z, 21, 21))]]}
    found = offsets(make_loader(boxes), (30, 64, 64))
    counts = np.bincount(found[:, 0], minlength=12)
    assert counts[:7].sum() == 0
    assert stats.chisquare(counts[7:12]).pvalue > 0.01


def test_volumes():
    boxes = {"a": [[8, 20, 30, 40, 22, 32, 42, 20, 30, 40]]}
    loader = make_loader(boxes, patch=(12, 20, 24), seen=(8, 16, 16))
    found = np.array([20, 30, 40]) - offsets(loader, (60, 80, 90))
    assert found.min(0).tolist() == [0, 0, 0]
    assert found.max(0).tolist() == [6, 14, 14]
