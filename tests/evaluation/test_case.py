"""One target of one case: what is counted, what is ignored, and how far things are from each other."""

import numpy as np
import pytest

from nnunetv2_mamba.evaluation.case import compare
from nnunetv2_mamba.evaluation.protocol import Protocol
from tests.evaluation.drawings import compared, drawn, masks, statuses

# Three lesions of 4, 1 and 2 pixels, the last is missed; three components, the last is a false positive.
MIXED = """
    rr...#..
    ##......
    ......pp
    rr......
"""


def test_counts_of_a_small_image():
    counts = compared(MIXED, spacing=(2.0, 0.5)).counts
    assert counts == {
        "cases": 1,
        "TP": 3,
        "FP": 2,
        "FN": 4,
        "TN": 23,
        "lesions": 3,
        "true_positive_lesions": 2,
        "components": 3,
        "true_positive_components": 2,
        "reference_volume": 7.0,
        "predicted_volume": 5.0,
        "volume_error": 2.0,
        "missed_volume": 2.0,
        "false_positive_volume": 2.0,
        "lesion_count_error": 0,
        "lesion_dice": pytest.approx(2 * 2 / (4 + 2) + 1),
        # Of the first lesion the upper row of 2 mm is lacking; the second one is hit exactly.
        "lesion_hd95": pytest.approx(2.0 + 0.0),
    }


def test_metrics_of_a_small_image():
    metrics = compared(MIXED, spacing=(2.0, 0.5)).metrics
    expected = {
        "mIoU": 3 / 9,
        "DSC": 6 / 12,
        "ACC": 26 / 32,
        "SPE": 23 / 25,
        "SEN": 3 / 7,
        "reference_volume": 7.0,
        "predicted_volume": 5.0,
        "volume_difference": -2.0,
        "volume_error": 2.0,
        "lesion_recall": 2 / 3,
        "lesion_precision": 2 / 3,
        "lesion_f1": 2 / 3,
        "fp_per_case": 1.0,
        "fp_volume_per_case": 2.0,
        "missed_volume_per_case": 2.0,
        "lesion_count_error": 0.0,
        "lesion_dice": (2 / 3 + 1 + 0) / 3,
        "true_positive_dice": (2 / 3 + 1) / 2,
        "lesionwise_dice": (2 / 3 + 1) / 4,
    }
    measured = {name: metrics[name] for name in expected}
    assert measured == pytest.approx(expected)
    assert metrics.keys() - expected.keys() == {"HD95", "NSD", "lesionwise_hd95"}


def test_f1_is_the_harmonic_mean_of_recall_and_precision():
    # Recall 1/2, precision 1/3.
    metrics = compared("#.r.p.p").metrics
    assert metrics["lesion_f1"] == pytest.approx(2 * (1 / 2) * (1 / 3) / (1 / 2 + 1 / 3))


def test_nothing_right_has_an_f1_of_zero():
    assert compared("r.p").metrics["lesion_f1"] == 0.0


def test_precision_of_components_and_of_lesions():
    # Two components match one lesion, and one is a false positive.
    components, lesions = (
        compared("#r#.p", precision_counts=counts).metrics["lesion_precision"] for counts in ("components", "lesions")
    )
    assert (components, lesions) == (pytest.approx(2 / 3), pytest.approx(1 / 2))


def test_one_component_over_two_lesions_counts_twice_in_recall_and_once_in_precision():
    counts = compared("##p##.p").counts
    assert (counts["true_positive_lesions"], counts["true_positive_components"], counts["components"]) == (2, 1, 2)


@pytest.mark.parametrize("rules", [{"min_lesion_voxels": 2}, {"min_lesion_size": 1.5}], ids=str)
@pytest.mark.parametrize(
    ("drawing", "lesions", "components"),
    [
        ("r.##", ["ignored", "true_positive"], ["true_positive"]),
        # A component that matches only an ignored lesion is ignored.
        ("#.##", ["ignored", "true_positive"], ["ignored", "true_positive"]),
        ("#pp.rr", ["ignored", "missed"], ["ignored"]),
        # Unless it finds another one, too.
        ("#p##", ["ignored", "true_positive"], ["true_positive"]),
    ],
)
def test_small_lesions_are_ignored(rules, drawing, lesions, components):
    comparison = compared(drawing, **rules)
    assert statuses(comparison) == (lesions, components)
    assert comparison.counts["lesions"] == 1
    assert comparison.counts["components"] == components.count("true_positive")


@pytest.mark.parametrize("rules", [{"min_component_voxels": 2}, {"min_component_size": 1.5}], ids=str)
@pytest.mark.parametrize(
    ("drawing", "lesions", "components"),
    [
        ("#r", ["missed"], ["ignored"]),
        ("p.rr", ["missed"], ["ignored"]),
        ("##r#", ["true_positive"], ["true_positive", "ignored"]),
    ],
)
def test_small_components_are_as_if_they_had_not_been_predicted(rules, drawing, lesions, components):
    comparison = compared(drawing, **rules)
    assert statuses(comparison) == (lesions, components)
    assert comparison.counts["components"] == components.count("true_positive")
    assert comparison.counts["false_positive_volume"] == 0
    # They are voxels all the same.
    assert comparison.counts["TP"] == drawing.count("#")


def test_a_small_component_takes_no_part_in_the_dice_of_a_lesion():
    assert compared("##r#", min_component_voxels=2).lesions[0].dice == pytest.approx(2 * 2 / (4 + 2))
    assert compared("##r#").lesions[0].dice == pytest.approx(2 * 3 / (4 + 3))


def test_a_size_that_is_just_enough_is_enough():
    # By rounding, the product is a little less than it should be.
    assert 3 * (0.1 * 0.7) < 0.21
    for rule in ("min_lesion_size", "min_component_size"):
        assert statuses(compared("###", (0.1, 0.7), **{rule: 0.21})) == (["true_positive"], ["true_positive"])
        assert ["ignored"] in statuses(compared("###", (0.1, 0.7), **{rule: 0.211}))
    for rule in ("min_lesion_voxels", "min_component_voxels"):
        assert statuses(compared("###", **{rule: 3})) == (["true_positive"], ["true_positive"])
        assert ["ignored"] in statuses(compared("##", **{rule: 3}))


def test_sizes_are_of_the_lesion_as_drawn_whatever_its_dilation():
    assert statuses(compared("r.r", dilation_steps=1, min_lesion_voxels=3))[0] == ["ignored"]
    assert statuses(compared("r.r", dilation_steps=1, min_lesion_voxels=2))[0] == ["missed"]


@pytest.mark.parametrize(
    ("drawing", "spacing", "gap", "hd95"),
    [
        # The surfaces are on both sides of each pixel: two free columns of 0.5 mm between them, three from far to far.
        ("r..p", (3.0, 0.5), 1.0, 1.5),
        ("r\n.\n.\np", (3.0, 0.5), 6.0, 9.0),
        ("r. .. .. .p", (5.0, 2.0, 1.0), 10.0, np.hypot(15.0, 1.0)),
        ("rp", (1.0, 1.0), 0.0, 1.0),
    ],
)
def test_distances_are_in_mm_along_each_axis(drawing, spacing, gap, hd95):
    comparison = compared(drawing, spacing)
    assert [part.distance for part in comparison.parts] == [pytest.approx(gap)] * 2
    assert [part.status for part in comparison.parts] == ["missed", "false_positive"]
    assert all(np.isnan(part.hd95) for part in comparison.parts)
    assert comparison.metrics["HD95"] == pytest.approx(hd95)


def test_distance_is_to_the_nearest_of_several():
    comparison = compared("p..r....p..", (1.0, 2.0))
    assert comparison.lesions[0].distance == 4.0
    assert [part.distance for part in comparison.components] == [4.0, 8.0]


@pytest.mark.parametrize("rules", [{}, {"min_component_voxels": 2}], ids=str)
def test_what_overlaps_has_no_distance(rules):
    # The surface of the component is two pixels away from that of the lesion, but lies within it.
    comparison = compared("rrrrr\nrrrrr\nrr#rr\nrrrrr\nrrrrr", **rules)
    assert [part.distance for part in comparison.parts] == [0.0, 0.0]


def test_without_a_prediction_there_is_no_distance():
    assert np.isnan(compared("r.r").lesions[0].distance)
    assert np.isnan(compared("p").components[0].distance)


def test_hd95_of_a_lesion_is_to_its_own_components():
    # A distant false positive changes the HD95 of the image, not that of the lesion.
    comparison = compared("##.................p")
    assert comparison.lesions[0].hd95 == 0.0
    assert comparison.metrics["HD95"] == 18.0


@pytest.mark.parametrize(("tolerance", "share"), [(0.9, 0.0), (1.0, 0.5), (1.4, 0.5), (1.5, 1.0)])
def test_surface_dice_counts_what_is_within_the_tolerance(tolerance, share):
    # Of each pixel the nearer side is 1 mm from the other pixel's, the farther side 1.5 mm.
    assert compared("r..p", (3.0, 0.5), surface_tolerance=tolerance).metrics["NSD"] == pytest.approx(share)


def test_missed_distance_is_that_of_missed_lesions_and_false_positives():
    metrics = compared("##.rr.p", missed_distance=100.0).metrics
    assert metrics["lesionwise_hd95"] == pytest.approx((0 + 100 + 100) / 3)
    assert metrics["HD95"] == 2.0
    assert compared("rr", missed_distance=100.0).metrics["HD95"] == 100.0
    assert np.isnan(compared("##.rr.p").metrics["lesionwise_hd95"])


def test_voxels_that_nobody_has_annotated_count_for_nothing():
    # A lesion, a component and half of a lesion are within what is ignored.
    drawing = """
        r.p.##..p
        .........
    """
    ignored = drawn("""
        xxxxx....
        xxxxx....
    """)
    comparison = compared(drawing, ignored=ignored == "x")
    counts = comparison.counts
    assert statuses(comparison) == (["true_positive"], ["true_positive", "false_positive"])
    assert [part.voxels for part in comparison.parts] == [1, 1, 1]
    assert [counts[name] for name in ("TP", "FP", "FN", "TN")] == [1, 1, 0, 6]


def test_a_component_that_the_ignored_region_cuts_is_in_two():
    ignored = masks("..r..")[0]
    assert [part.voxels for part in compared("#####", ignored=ignored).components] == [2, 2]


def test_where_everything_is_ignored_both_are_empty():
    comparison = compared("#r.p", ignored=np.ones((1, 4), bool))
    assert (comparison.emptiness, comparison.parts, comparison.counts["TN"]) == ("both_empty", [], 0)
    assert np.isnan(comparison.metrics["ACC"])


def test_label_maps_show_where_the_parts_are():
    comparison = compared("""
        .........
        ...##r...
        .......p.
        .........
    """)
    expected = np.zeros((2, 4, 9), int)
    expected[0, 1, 3:6] = 1
    expected[1, 1, 3:5] = 1
    expected[1, 2, 7] = 2
    assert (comparison.lesion_labels == expected[0]).all()
    assert (comparison.component_labels == expected[1]).all()
    assert [part.centre for part in comparison.parts] == [(1.0, 4.0), (1.0, 3.5), (2.0, 7.0)]


def test_dilation_at_the_rim_of_the_image_stays_within_it():
    drawing = "#.\n.."
    inside, rim = (compared(text, dilation_mm=5.0).counts for text in ("....\n.#..\n....", drawing))
    assert (inside["true_positive_lesions"], rim["true_positive_lesions"]) == (1, 1)


@pytest.mark.parametrize(
    ("reference", "prediction", "spacing"),
    [((3, 4), (4, 3), (1, 1)), ((3, 4), (3, 4), (1, 1, 1)), ((4,), (4,), (1,)), ((1, 2, 3, 4),) * 2 + ((1,) * 4,)],
    ids=str,
)
def test_masks_that_cannot_be_compared_are_refused(reference, prediction, spacing):
    with pytest.raises(ValueError, match="give two of the same shape, 2-D or 3-D") as error:
        compare(np.zeros(reference, bool), np.zeros(prediction, bool), spacing)
    assert str(reference) in str(error.value)
    assert str(tuple(spacing)) in str(error.value)


def test_the_default_rules_are_those_of_the_default_protocol():
    # Every rule but the connectivity would change nothing here.
    corner = "r.\n.r"
    assert [len(compared(corner, **rules).lesions) for rules in ({}, {"connectivity": "faces"})] == [1, 2]
    assert len(compare(*masks(corner), (1.0, 1.0)).lesions) == 1


@pytest.mark.parametrize("place", ["reference", "prediction", "ignored"])
def test_numbers_are_no_masks(place):
    # Taken for bytes, an integer mask of eight bytes a voxel would have other lesions.
    given = dict.fromkeys(("reference", "prediction", "ignored"), np.zeros((3, 3), dtype=bool))
    with pytest.raises(ValueError, match=r"masks must be bool, not .*int64.*: give segmentation == 1"):
        compare(**given | {place: np.ones((3, 3), dtype=np.int64)}, spacing=(1.0, 1.0))


@pytest.mark.parametrize("width", [0.0, -1.0, np.nan, np.inf])
def test_a_spacing_that_cannot_be_is_refused(width):
    with pytest.raises(ValueError, match="give one positive number in mm for each axis"):
        compare(np.zeros((3, 3), dtype=bool), np.zeros((3, 3), dtype=bool), (1.0, width))


def test_an_ignored_lesion_takes_no_component_from_another():
    # The lesion of one pixel overlaps more of the component, for its size, than the one of four.
    reference = np.array([[1, 0, 0, 1, 1, 1, 1]], dtype=bool)
    prediction = np.array([[1, 1, 1, 1, 0, 0, 0]], dtype=bool)
    rules = Protocol(matching="one_to_one", min_lesion_voxels=2)
    comparison = compare(reference, prediction, (1.0, 1.0), rules)
    assert [lesion.status for lesion in comparison.lesions] == ["ignored", "true_positive"]
    assert [component.status for component in comparison.components] == ["true_positive"]
    # Left to itself, what finds only the ignored one is ignored too.
    alone = compare(reference, np.array([[1, 1, 0, 0, 0, 0, 0]], dtype=bool), (1.0, 1.0), rules)
    assert statuses(alone) == (["ignored", "missed"], ["ignored"])


def test_a_dilation_of_just_the_distance_reaches():
    # Three times 0.1 is a little more than 0.3.
    lesion, component = np.array([[1, 0, 0, 0]], dtype=bool), np.array([[0, 0, 0, 1]], dtype=bool)
    assert compare(lesion, component, (0.1, 0.1), Protocol(dilation_mm=0.3)).counts["true_positive_lesions"] == 1
    assert compare(lesion, component, (0.1, 0.1), Protocol(dilation_mm=0.29)).counts["true_positive_lesions"] == 0
