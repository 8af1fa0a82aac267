"""Distances between surfaces are those of DeepMind's surface-distance, of whole masks and of single lesions."""

import warnings

import numpy as np
import pytest
import surface_distance

from nnunetv2_mamba.evaluation.case import compare
from nnunetv2_mamba.evaluation.protocol import Protocol
from tests.evaluation.drawings import compared, masks
from tests.evaluation.random_cases import random_pair, random_spacing


def by_the_library(reference: np.ndarray, prediction: np.ndarray, spacing: tuple[float, ...]) -> dict:
    """What the library's functions take; neither mask may be empty, which ends it under NumPy 2."""
    with warnings.catch_warnings():
        # It calls functions of SciPy by names that will go.
        warnings.simplefilter("ignore", DeprecationWarning)
        return surface_distance.compute_surface_distances(reference, prediction, spacing)


def pairs(shape: tuple[int, ...], number: int) -> list[tuple]:
    rng = np.random.default_rng(0)
    found = []
    while len(found) < number:
        # Noise has more corners, edges and holes than any lesion.
        if len(found) % 2:
            reference = rng.random(shape) < 0.25
            prediction = reference ^ (rng.random(shape) < 0.1)
        else:
            reference, prediction = random_pair(rng, shape)
        if reference.any() and prediction.any():
            found.append((reference, prediction, random_spacing(rng, len(shape))))
    return found


SHAPES = pytest.mark.parametrize("shape", [(14, 19), (7, 9, 11), (1, 12), (1, 6, 9), (2, 2, 2)], ids=str)


@SHAPES
def test_hd95_and_surface_dice_of_masks(shape):
    for reference, prediction, spacing in pairs(shape, 15):
        distances = by_the_library(reference, prediction, spacing)
        for tolerance in (0.0, 1.0, 2.5):
            metrics = compare(reference, prediction, spacing, Protocol(surface_tolerance=tolerance)).metrics
            assert metrics["HD95"] == pytest.approx(surface_distance.compute_robust_hausdorff(distances, 95))
            assert metrics["NSD"] == pytest.approx(
                surface_distance.compute_surface_dice_at_tolerance(distances, tolerance)
            )


@pytest.mark.parametrize("connectivity", ["faces", "edges", "corners"])
@pytest.mark.parametrize("shape", [(14, 19), (6, 7, 7)], ids=str)
def test_hd95_and_distance_of_each_lesion(shape, connectivity):
    for reference, prediction, spacing in pairs(shape, 8):
        comparison = compare(reference, prediction, spacing, Protocol(connectivity=connectivity, missed_distance=1.0))
        for lesion in comparison.lesions:
            alone = comparison.lesion_labels == lesion.id
            if lesion.matched:
                partners = np.isin(comparison.component_labels, lesion.matched)
                expected = surface_distance.compute_robust_hausdorff(by_the_library(alone, partners, spacing), 95)
                assert (lesion.hd95, lesion.distance) == (pytest.approx(expected), 0.0)
            else:
                nearest = by_the_library(alone, prediction, spacing)["distances_gt_to_pred"].min()
                assert (np.isnan(lesion.hd95), lesion.distance) == (True, pytest.approx(nearest))


def test_partners_that_share_a_corner_have_one_surface_there():
    # Components under the connectivity of faces; added up one by one, their surfaces would be 1 mm away.
    drawing = """
        ##r# rr#r
        .### #pr#
    """
    lesion, together = masks(drawing)
    comparison = compared(drawing, connectivity="faces")
    assert (len(comparison.lesions), len(comparison.lesions[0].matched)) == (1, 2)
    distances = by_the_library(lesion, together, (1.0, 1.0, 1.0))
    assert comparison.lesions[0].hd95 == surface_distance.compute_robust_hausdorff(distances, 95) == 0.0


def test_an_empty_mask_has_no_distances():
    for drawing in ("r.", "p.", ".."):
        comparison = compared(drawing)
        assert np.isnan(comparison.metrics["HD95"])
        assert all(np.isnan(part.hd95) and np.isnan(part.distance) for part in comparison.parts)


def test_a_component_over_several_lesions_is_measured_only_where_the_protocol_scores_it():
    # Of a prediction that covers everything, the whole surface would be measured again for every lesion.
    drawing = "#ppp#p#"
    assert np.isnan([lesion.hd95 for lesion in compared(drawing).lesions]).all()
    scored = compared(drawing, missed_distance=99.0)
    assert len(scored.lesions) == 3
    assert np.isfinite([lesion.hd95 for lesion in scored.lesions]).all()
    one_each = compared("##.rr.##")
    assert [np.isfinite(lesion.hd95) for lesion in one_each.lesions] == [True, False, True]
    assert one_each.counts["lesion_hd95"] == 0.0
