"""Groups of lesions and of images by size."""

import numpy as np
import pytest

from nnunetv2_mamba.evaluation.protocol import Protocol, Strata
from nnunetv2_mamba.evaluation.strata import bounds_of, image_strata, lesion_strata
from tests.evaluation.drawings import compared

# Lesions of 1, 2, 3 and 4 pixels: 2 and 4 are true positives. Components of 2 and 4; false positives of 1 and 3.
SIZES = """
    r.##.rrr.####
    .............
    p.ppp........
"""
BY_VOXELS = Strata(by="voxels", bounds=(1, 3))


def groups(drawing: str, strata: Strata, spacing: tuple[float, ...] = (1.0, 1.0), **rules) -> dict[str, dict]:
    comparison = compared(drawing, spacing, **rules)
    entries = lesion_strata(comparison.parts, 1, Protocol(strata=strata, **rules))
    return {entry["name"]: entry for entry in entries}


def column(entries: dict[str, dict], count: str) -> list:
    return [entry["counts"][count] for entry in entries.values()]


def test_thirds_of_the_lesions():
    # The bounds are the quantiles 1/3 and 2/3 of the sizes 1, 2, 3, 4.
    entries = groups(SIZES, Strata())
    assert [entry["upper"] for entry in entries.values()] == [pytest.approx(2.0), pytest.approx(3.0), None]
    assert column(entries, "lesions") == [2, 1, 1]
    assert column(entries, "true_positive_lesions") == [1, 0, 1]
    # Components are in the group of their own size: 1 and 2, 3, 4.
    assert column(entries, "components") == [2, 1, 1]
    assert column(entries, "true_positive_components") == [1, 0, 1]
    assert [entry["metrics"]["lesion_recall"] for entry in entries.values()] == [0.5, 0.0, 1.0]
    assert [entry["metrics"]["lesion_precision"] for entry in entries.values()] == [0.5, 0.0, 1.0]


@pytest.mark.parametrize(
    ("strata", "spacing", "lesions"),
    [
        (BY_VOXELS, (1.0, 1.0), [1, 2, 1]),
        # In voxels, whatever their size in mm.
        (BY_VOXELS, (3.0, 0.5), [1, 2, 1]),
        # 1.5 mm^2 a pixel; a bound belongs to the group below it.
        (Strata(by="size", bounds=(1.5, 4.5)), (3.0, 0.5), [1, 2, 1]),
        (Strata(by="size", bounds=(1.4, 4.4)), (3.0, 0.5), [0, 2, 2]),
        (Strata(names=("tiny", "rest"), by="size", bounds=(3.0,)), (1.0, 1.0), [3, 1]),
        (Strata(names=("all",), by="size", bounds=()), (1.0, 1.0), [4]),
    ],
)
def test_fixed_bounds(strata, spacing, lesions):
    entries = groups(SIZES, strata, spacing)
    assert column(entries, "lesions") == lesions
    assert list(entries) == list(strata.names)


def test_a_size_that_is_meant_to_equal_a_bound_is_below_it():
    assert 3 * (0.1 * 1.0) > 0.3
    strata = Strata(names=("small", "large"), by="size", bounds=(0.3,))
    assert column(groups("rrr", strata, (0.1, 1.0)), "lesions") == [1, 0]


def test_recall_and_precision_of_groups_are_of_lesions_and_components_of_this_size():
    # A component of four pixels matches the lesion of one pixel.
    entries = groups("#ppp.rr", BY_VOXELS)
    assert column(entries, "true_positive_lesions") == [1, 0, 0]
    assert column(entries, "true_positive_components") == [0, 0, 1]
    metrics = [entry["metrics"] for entry in entries.values()]
    assert [values["lesion_recall"] for values in metrics[:2]] == [1.0, 0.0]
    assert np.isnan(metrics[2]["lesion_recall"])
    assert metrics[2]["lesion_precision"] == 1.0


def test_the_groups_together_are_all():
    whole = compared(SIZES, (2.0, 1.0)).counts
    for strata in (Strata(), BY_VOXELS, Strata(by="size", bounds=(2, 5))):
        entries = groups(SIZES, strata, (2.0, 1.0))
        for count in (
            "lesions",
            "true_positive_lesions",
            "components",
            "true_positive_components",
            "missed_volume",
            "false_positive_volume",
            "lesion_dice",
        ):
            assert sum(column(entries, count)) == pytest.approx(whole[count]), count


def test_ignored_parts_are_in_no_group():
    entries = groups(SIZES, BY_VOXELS, min_lesion_voxels=2, min_component_voxels=3)
    assert column(entries, "lesions") == [0, 2, 1]
    assert column(entries, "components") == [0, 1, 1]


def test_per_case_is_per_case_and_not_per_case_of_the_group():
    parts = compared(SIZES).parts
    entries = lesion_strata(parts, 4, Protocol(strata=BY_VOXELS))
    assert [entry["metrics"]["fp_per_case"] for entry in entries] == [1 / 4, 1 / 4, 0.0]
    assert "lesion_count_error" not in entries[0]["metrics"]


def test_without_lesions_quantiles_are_not_defined():
    entries = groups("p.pp", Strata())
    assert np.isnan([entry["upper"] for entry in entries.values()][:2]).all()
    # Without lesions there are no bounds, and a false positive belongs to no group.
    assert sum(column(entries, "components")) == 0
    assert column(groups("...", Strata()), "lesions") == [0, 0, 0]


@pytest.mark.parametrize("number", [1, 2, 3, 7, 10, 31, 100])
def test_thirds_are_thirds(number):
    sizes = np.arange(1.0, number + 1)
    bounds = bounds_of(Strata(), sizes)
    counted = np.bincount(np.searchsorted(bounds, sizes), minlength=3)
    assert counted.sum() == number
    assert counted.max() - counted.min() <= 1


# Images whose lesions have 0, 1, 2, 3, 4 and 6 pixels together; in two lesions where there are more than two.
IMAGES = ["p.......", "#.......", "r#......", "rr.r....", "##.##...", "###.rrr."]


def images(strata: Strata, spacing: tuple[float, ...] = (1.0, 1.0)) -> list[dict]:
    counts = [compared(drawing, spacing).counts for drawing in IMAGES]
    return image_strata(counts, Protocol(strata=strata), [float(np.prod(spacing))] * len(IMAGES))


def test_images_are_grouped_by_their_lesions_together():
    entries = images(Strata(by="voxels", bounds=(2, 4), level="image"))
    assert [entry["counts"]["cases"] for entry in entries] == [2, 2, 1]
    assert [entry["counts"]["lesions"] for entry in entries] == [2, 4, 2]
    # An image without a lesion belongs to no group, and neither do its false positives.
    assert sum(entry["counts"]["components"] - entry["counts"]["true_positive_components"] for entry in entries) == 0
    assert [entry["metrics"]["DSC"] for entry in entries] == [
        pytest.approx(2 * 2 / (2 * 2 + 1)),
        pytest.approx(2 * 4 / (2 * 4 + 3)),
        pytest.approx(2 * 3 / (2 * 3 + 3)),
    ]


def test_image_groups_by_size_and_by_quantiles():
    by_size = images(Strata(by="size", bounds=(3, 6), level="image"), spacing=(3.0, 0.5))
    assert [entry["counts"]["cases"] for entry in by_size] == [2, 2, 1]
    # Quantiles 0.3 and 0.6 of 1, 2, 3, 4, 6 are 2.2 and 3.4.
    thirds = images(Strata(bounds=(0.3, 0.6), level="image"))
    assert [entry["upper"] for entry in thirds] == [pytest.approx(2.2), pytest.approx(3.4), None]
    assert [entry["counts"]["cases"] for entry in thirds] == [2, 1, 2]
