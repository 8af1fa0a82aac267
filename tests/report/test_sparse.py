"""Sparse labels are the array that they are of."""

import numpy as np
import pytest

from nnunetv2_mamba.evaluation.case import compare
from nnunetv2_mamba.report.sparse import SparseLabels


@pytest.fixture
def array():
    rng = np.random.default_rng(0)
    return np.where(rng.random((5, 6, 7)) < 0.2, rng.integers(1, 4, (5, 6, 7)), 0).astype(np.uint32)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_are_those_of_the_array(array, axis):
    sparse = SparseLabels.of(array)
    for index in range(array.shape[axis]):
        assert (sparse.plane((axis, index)) == np.take(array, index, axis=axis)).all()


def test_an_image_has_one_plane(array):
    assert (SparseLabels.of(array[0]).plane(None) == array[0]).all()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_voxels_of_some_parts_are_counted_slice_by_slice(axis):
    reference = np.zeros((4, 5, 6), dtype=bool)
    reference[0:2, 1, 1], reference[3, 3, 2:6] = True, True
    comparison = compare(reference, reference & False, (1, 1, 1))
    sparse = SparseLabels.of(comparison.lesion_labels)
    others = tuple(other for other in range(3) if other != axis)
    assert (sparse.voxels_along(axis, comparison.lesions) == reference.sum(axis=others)).all()
    small = [part for part in comparison.lesions if part.voxels == 2]
    assert sparse.voxels_along(axis, small).sum() == 2
