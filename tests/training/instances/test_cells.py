"""Voronoi cells of lesions, against distances to each lesion and drawn by hand."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from nnunetv2_mamba.training.instances.cells import AppendCells, cells_of, nearest_components


def test_drawn_by_hand():
    mask = np.array([[1, 0, 0, 0, 0, 0, 1], [1, 0, 0, 0, 0, 0, 0]], dtype=bool)
    assert nearest_components(mask).tolist() == [[1, 1, 1, 1, 2, 2, 2], [1, 1, 1, 1, 2, 2, 2]] or (
        # The middle column is as far from the one as from the other.
        nearest_components(mask)[:, [0, 1, 2, 4, 5, 6]].tolist() == [[1, 1, 1, 2, 2, 2], [1, 1, 1, 2, 2, 2]]
    )


@pytest.mark.parametrize("number", [0, 1])
def test_without_a_choice_all_voxels_are_of_one_cell(number):
    mask = np.zeros((4, 5, 3), dtype=bool)
    mask[1:3, 2, 1] = number
    assert (nearest_components(mask) == number).all()


@pytest.mark.parametrize("shape", [(20, 24), (9, 10, 8)])
@pytest.mark.parametrize("seed", range(3))
def test_no_other_lesion_is_nearer(shape, seed):
    mask = np.random.default_rng(seed).random(shape) > 0.97
    cells = nearest_components(mask)
    components, number = ndimage.label(mask, np.ones((3,) * len(shape)))
    assert number > 1
    # Our numbers may be others than SciPy's; each lesion keeps one of its own.
    ours = [np.unique(cells[components == lesion]).item() for lesion in range(1, number + 1)]
    assert sorted(ours) == list(range(1, number + 1))
    distances = np.stack([ndimage.distance_transform_edt(components != lesion) for lesion in range(1, number + 1)])
    chosen = np.take_along_axis(distances, np.argsort(ours)[cells - 1][None], axis=0)[0]
    np.testing.assert_allclose(chosen, distances.min(0))


def test_corners_join_a_lesion():
    mask = np.eye(5, dtype=bool)
    assert (nearest_components(mask) == 1).all()


@pytest.mark.parametrize("shape", [(2, 3, 6, 7), (2, 1, 4, 6, 5)])
def test_masks_of_a_batch_are_labelled_each_for_itself(shape):
    masks = torch.rand(shape, generator=torch.Generator().manual_seed(0)) > 0.9
    cells = cells_of(masks)
    assert cells.shape == masks.shape
    for sample in range(shape[0]):
        for number in range(shape[1]):
            expected = nearest_components(masks[sample, number].numpy())
            np.testing.assert_array_equal(cells[sample, number].numpy(), expected)


@pytest.mark.parametrize("deep_supervision", [True, False])
def test_cells_of_classes_are_the_last_target(deep_supervision):
    labels = torch.zeros(1, 6, 8, dtype=torch.int16)
    labels[0, 1, 1], labels[0, 4, 6], labels[0, 2, 4] = 1, 1, 2
    targets = [labels, labels[:, ::2, ::2]] if deep_supervision else labels
    result = AppendCells([1, 2], ignore_label=False)(image=torch.zeros(1, 6, 8), segmentation=targets)["segmentation"]
    assert len(result) == (3 if deep_supervision else 2)
    assert result[0] is labels
    assert result[-1].shape == (2, 6, 8)
    assert set(result[-1][0].unique().tolist()) == {1, 2}
    assert result[-1][1].unique().tolist() == [1]


def test_the_ignore_label_of_regions_has_no_cells():
    regions = torch.zeros(3, 6, 8, dtype=torch.bool)
    regions[0, 1:4, 1:4], regions[1, 2, 2], regions[2, 5] = True, True, True
    result = AppendCells(None, ignore_label=True)(image=torch.zeros(1, 6, 8), segmentation=regions)["segmentation"]
    assert result[-1].shape == (2, 6, 8)
    assert (result[-1] == 1).all()
