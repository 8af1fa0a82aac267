"""Which lesion belongs to which component, under every rule."""

import numpy as np
import pytest

from nnunetv2_mamba.evaluation.matching import Overlaps, matches
from nnunetv2_mamba.evaluation.protocol import Protocol
from tests.evaluation.drawings import compared, statuses

# One component of five pixels over two lesions of two: IoU 2/5 each.
ONE_OVER_TWO = "##p##"
# A lesion of three pixels, two components of one: IoU 1/3 each.
SPLIT = "#r#"


@pytest.mark.parametrize(
    ("drawing", "rules", "lesions", "components"),
    [
        (ONE_OVER_TWO, {}, ["true_positive", "true_positive"], ["true_positive"]),
        (
            ONE_OVER_TWO,
            {"matching": "iou", "iou_threshold": 0.4},
            ["true_positive", "true_positive"],
            ["true_positive"],
        ),
        (ONE_OVER_TWO, {"matching": "iou", "iou_threshold": 0.41}, ["missed", "missed"], ["false_positive"]),
        (ONE_OVER_TWO, {"matching": "one_to_one", "iou_threshold": 0.41}, ["missed", "missed"], ["false_positive"]),
        (SPLIT, {}, ["true_positive"], ["true_positive", "true_positive"]),
        (SPLIT, {"matching": "iou", "iou_threshold": 0.33}, ["true_positive"], ["true_positive", "true_positive"]),
        (SPLIT, {"matching": "iou", "iou_threshold": 0.34}, ["missed"], ["false_positive", "false_positive"]),
        # Half of either: a threshold that is reached is enough.
        ("#r", {"matching": "iou", "iou_threshold": 0.5}, ["true_positive"], ["true_positive"]),
        ("#r", {"matching": "one_to_one", "iou_threshold": 0.5}, ["true_positive"], ["true_positive"]),
        ("#r", {"matching": "one_to_one", "iou_threshold": 0.51}, ["missed"], ["false_positive"]),
        # Neighbours do not overlap, whatever the rule.
        ("rp", {}, ["missed"], ["false_positive"]),
        ("rp", {"matching": "iou"}, ["missed"], ["false_positive"]),
        ("rp", {"matching": "one_to_one"}, ["missed"], ["false_positive"]),
        # Of two components the one that covers more is taken, wherever it is.
        ("#r##", {"matching": "one_to_one"}, ["true_positive"], ["false_positive", "true_positive"]),
        ("##r#", {"matching": "one_to_one"}, ["true_positive"], ["true_positive", "false_positive"]),
        ("#r##", {"matching": "one_to_one", "spare_duplicates": True}, ["true_positive"], ["ignored", "true_positive"]),
        # The smaller one reaches no 30 %, so that it is no duplicate but wrong.
        (
            "#r##",
            {"matching": "one_to_one", "iou_threshold": 0.3, "spare_duplicates": True},
            ["true_positive"],
            ["false_positive", "true_positive"],
        ),
        ("#r#", {"spare_duplicates": True}, ["true_positive"], ["true_positive", "true_positive"]),
    ],
)
def test_what_is_found_and_what_is_right(drawing, rules, lesions, components):
    assert statuses(compared(drawing, **rules)) == (lesions, components)


@pytest.mark.parametrize("drawing", [ONE_OVER_TWO, SPLIT])
def test_of_equal_pairs_one_is_taken_and_it_is_always_the_same(drawing):
    lesions, components = statuses(compared(drawing, matching="one_to_one"))
    assert (
        sorted(lesions + components)
        == {
            ONE_OVER_TWO: ["missed", "true_positive", "true_positive"],
            SPLIT: ["false_positive", "true_positive", "true_positive"],
        }[drawing]
    )
    assert statuses(compared(drawing, matching="one_to_one")) == (lesions, components)


def test_dice_and_iou_are_with_everything_that_matches():
    over_two, split = compared(ONE_OVER_TWO), compared(SPLIT)
    assert [(part.matched, part.dice, part.iou) for part in over_two.parts] == [
        ((1,), pytest.approx(4 / 7), pytest.approx(2 / 5)),
        ((1,), pytest.approx(4 / 7), pytest.approx(2 / 5)),
        ((1, 2), pytest.approx(8 / 9), pytest.approx(4 / 5)),
    ]
    assert [(part.matched, part.dice, part.iou) for part in split.parts] == [
        ((1, 2), pytest.approx(4 / 5), pytest.approx(2 / 3)),
        ((1,), pytest.approx(1 / 2), pytest.approx(1 / 3)),
        ((1,), pytest.approx(1 / 2), pytest.approx(1 / 3)),
    ]


def test_one_to_one_dice_is_with_the_one_component():
    part = compared("#r##", matching="one_to_one").lesions[0]
    assert (part.matched, part.dice, part.iou) == ((2,), pytest.approx(2 / 3), pytest.approx(1 / 2))


def test_as_many_pairs_as_possible_come_before_better_pairs():
    # The first pair is better than the two others together, but takes both their places.
    overlaps = Overlaps(np.array([1, 1, 2]), np.array([1, 2, 1]), np.array([8, 1, 1]), np.array([0.8, 0.1, 0.1]))
    assert matches(overlaps, Protocol(matching="one_to_one")).tolist() == [False, True, True]
    assert matches(overlaps, Protocol(matching="one_to_one", iou_threshold=0.2)).tolist() == [True, False, False]


def test_among_as_many_pairs_the_sum_of_iou_decides():
    lesion, component = np.array([1, 1, 2, 2]), np.array([1, 2, 1, 2])
    overlaps = Overlaps(lesion, component, np.ones(4), np.array([0.4, 0.3, 0.3, 0.1]))
    assert matches(overlaps, Protocol(matching="one_to_one")).tolist() == [False, True, True, False]


def test_groups_that_share_nothing_do_not_disturb_each_other():
    alone = Overlaps(np.array([1, 1, 2]), np.array([1, 2, 1]), np.array([8, 1, 1]), np.array([0.8, 0.1, 0.1]))
    shifts = [0, 40, 7]
    together = Overlaps(
        np.concatenate([alone.lesion + shift for shift in shifts]),
        np.concatenate([alone.component + shift for shift in shifts]),
        np.tile(alone.voxels, 3),
        np.tile(alone.iou, 3),
    )
    assert matches(together, Protocol(matching="one_to_one")).tolist() == [False, True, True] * 3


def test_dilation_reaches_a_component_that_overlap_does_not():
    drawing = "r..pp"
    for steps, lesion in ((2, "missed"), (3, "true_positive")):
        comparison = compared(drawing, dilation_steps=steps)
        assert comparison.lesions[0].status == lesion
    # Only its dilation is touched: nothing of it is covered.
    assert (comparison.lesions[0].dice, comparison.components[0].status) == (0.0, "true_positive")
    assert [part.distance for part in comparison.parts] == [2.0, 2.0]
    assert comparison.counts["TP"] == 0


def test_dilation_in_mm_goes_as_far_as_the_spacing_says():
    found = [
        compared("r.p", spacing, dilation_mm=4.0).counts["true_positive_lesions"]
        for spacing in ((1.0, 2.0), (1.0, 2.1))
    ]
    assert found == [1, 0]


def test_a_component_that_only_the_dilation_touches_has_no_iou():
    for matching in ("iou", "one_to_one"):
        assert statuses(compared("r.p", dilation_steps=2, matching=matching)) == (["missed"], ["false_positive"])


def test_lesions_that_dilation_joins_are_counted_and_measured_as_one():
    comparison = compared("r.#...p", dilation_steps=1)
    lesion = comparison.lesions[0]
    assert len(comparison.lesions) == 1
    # As drawn: two pixels, not the three that the dilations bridge.
    assert (lesion.voxels, lesion.centre, lesion.dice) == (2, (0.0, 1.0), pytest.approx(2 / 3))
    assert statuses(comparison) == (["true_positive"], ["true_positive", "false_positive"])


def test_in_a_volume():
    drawing = """
        #r.. .r.. ...p
        .... .... ....
    """
    comparison = compared(drawing, spacing=(3.0, 1.0, 2.0))
    assert statuses(comparison) == (["true_positive"], ["true_positive", "false_positive"])
    assert [part.size for part in comparison.parts] == [18.0, 6.0, 6.0]
    assert [part.centre for part in comparison.parts] == [
        pytest.approx((1 / 3, 0.0, 2 / 3)),
        (0.0, 0.0, 0.0),
        (2.0, 0.0, 3.0),
    ]
