"""What no choice of axes, order or names may change, and what must change places."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from nnunetv2_mamba.evaluation.case import Comparison, compare
from nnunetv2_mamba.evaluation.matching import overlaps_between
from nnunetv2_mamba.evaluation.protocol import Protocol
from nnunetv2_mamba.evaluation.targets import Target

EXAMPLES = settings(max_examples=40)
WIDTHS = st.sampled_from([0.5, 1.0, 1.3, 3.0])
RULES = st.builds(
    dict,
    connectivity=st.sampled_from(["faces", "edges", "corners"]),
    matching=st.just("any_overlap"),
) | st.builds(
    dict,
    connectivity=st.sampled_from(["faces", "edges", "corners"]),
    matching=st.sampled_from(["iou", "one_to_one"]),
    iou_threshold=st.sampled_from([0.0, 0.2, 0.5]),
)
SIZES_AND_DILATION = st.sampled_from(
    [
        {},
        {"dilation_steps": 1},
        {"dilation_mm": 1.6},
        {"min_lesion_voxels": 2, "min_component_voxels": 2},
        {"min_lesion_size": 2.0},
        {"spare_duplicates": True},
        {"precision_counts": "lesions"},
        {"missed_distance": 20.0},
    ]
)


@st.composite
def pairs(draw) -> tuple[np.ndarray, np.ndarray, tuple[float, ...]]:
    """Reference, prediction and spacing, in 2-D or 3-D."""
    shape = draw(array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=6))
    drawn = draw(arrays(np.uint8, shape, elements=st.sampled_from([0, 0, 0, 1, 2, 3, 3])))
    return (drawn & 1) > 0, (drawn & 2) > 0, tuple(draw(WIDTHS) for _ in shape)


def sizes_and_fates(comparison: Comparison) -> list[tuple]:
    """Of every part all but its number and place, in an order that does not depend on these."""
    parts = comparison.parts
    numbers = [(part.size, part.dice, part.iou, part.distance, part.hd95) for part in parts]
    rounded = np.round(np.nan_to_num(numbers, nan=-1.0), 6).tolist()
    fates = [(part.kind, part.status, part.voxels, len(part.matched)) for part in parts]
    return sorted((*fate, *row) for fate, row in zip(fates, rounded, strict=True))


@given(pairs(), RULES, SIZES_AND_DILATION, st.data())
@EXAMPLES
def test_moving_mirroring_and_turning_an_image_changes_nothing(pair, rules, more, data):
    reference, prediction, spacing = pair
    protocol = Protocol(**rules, **more)
    before = compare(reference, prediction, spacing, protocol)
    axes = data.draw(st.permutations(range(reference.ndim)))
    flips = data.draw(st.lists(st.integers(0, reference.ndim - 1), unique=True))
    pad = [(data.draw(st.integers(0, 3)), data.draw(st.integers(0, 3))) for _ in spacing]
    turned = [np.pad(np.flip(mask, flips), pad).transpose(axes) for mask in (reference, prediction)]
    after = compare(*turned, [spacing[axis] for axis in axes], protocol)
    # More background makes more of what is rightly empty, and nothing else.
    assert after.counts["TN"] - before.counts["TN"] == turned[0].size - reference.size
    grown = {"TN", "ACC", "SPE"}
    if protocol.matching == "one_to_one":
        # Of pairs that are equally good, the first is taken: which one that is depends on the order of the voxels.
        grown |= {name for name in (*before.counts, *before.metrics) if "volume_per" in name or "lesionwise" in name}
        grown |= {"missed_volume", "false_positive_volume", "lesion_dice", "true_positive_dice", "lesion_hd95"}
    else:
        assert sizes_and_fates(after) == sizes_and_fates(before)
    for there, here in ((before.counts, after.counts), (before.metrics, after.metrics)):
        same = {name: value for name, value in there.items() if name not in grown}
        assert {name: here[name] for name in same} == pytest.approx(same, nan_ok=True)


@given(pairs(), RULES)
@EXAMPLES
def test_swapping_reference_and_prediction_swaps_recall_and_precision(pair, rules):
    reference, prediction, spacing = pair
    there = compare(reference, prediction, spacing, Protocol(**rules)).metrics
    back = compare(prediction, reference, spacing, Protocol(**rules)).metrics
    swapped = {
        "lesion_recall": "lesion_precision",
        "lesion_precision": "lesion_recall",
        "reference_volume": "predicted_volume",
        "predicted_volume": "reference_volume",
    }
    same = ("lesion_f1", "DSC", "mIoU", "ACC", "HD95", "NSD", "volume_error", "lesion_count_error")
    for name, other in swapped.items() | zip(same, same, strict=True):
        assert back[name] == pytest.approx(there[other], nan_ok=True), name
    assert back["volume_difference"] == pytest.approx(-there["volume_difference"])
    if rules["matching"] != "one_to_one":
        assert back["fp_volume_per_case"] == pytest.approx(there["missed_volume_per_case"])


@given(pairs(), RULES, SIZES_AND_DILATION)
@EXAMPLES
def test_counts_add_up(pair, rules, more):
    reference, prediction, spacing = pair
    comparison = compare(reference, prediction, spacing, Protocol(**rules, **more))
    counts, size = comparison.counts, float(np.prod(spacing))
    assert counts["TP"] + counts["FN"] == reference.sum() == sum(part.voxels for part in comparison.lesions)
    assert counts["TP"] + counts["FP"] == prediction.sum() == sum(part.voxels for part in comparison.components)
    assert counts["TP"] + counts["FP"] + counts["FN"] + counts["TN"] == reference.size
    assert counts["reference_volume"] == pytest.approx(reference.sum() * size)
    lesions = [part.status for part in comparison.lesions]
    components = [part.status for part in comparison.components]
    assert {"true_positive", "missed", "ignored"} >= set(lesions)
    assert {"true_positive", "false_positive", "ignored"} >= set(components)
    assert counts["lesions"] == len(lesions) - lesions.count("ignored")
    assert counts["true_positive_lesions"] == lesions.count("true_positive") <= counts["lesions"]
    assert counts["true_positive_components"] == components.count("true_positive") <= counts["components"]
    assert counts["components"] == len(components) - components.count("ignored")


@given(pairs(), RULES)
@EXAMPLES
def test_matches_are_mutual(pair, rules):
    comparison = compare(*pair, Protocol(**rules))
    forth = {(lesion.id, match) for lesion in comparison.lesions for match in lesion.matched}
    back = {(match, component.id) for component in comparison.components for match in component.matched}
    assert forth == back
    assert {lesion for lesion, _ in forth} == {part.id for part in comparison.lesions if part.status == "true_positive"}
    if rules["matching"] == "one_to_one":
        assert len(forth) == len({lesion for lesion, _ in forth}) == len({component for _, component in forth})


@given(pairs(), RULES, st.sampled_from([0.25, 2.0, 10.0]))
@EXAMPLES
def test_scaling_the_spacing_scales_sizes_and_distances_only(pair, rules, scale):
    reference, prediction, spacing = pair
    volume = scale ** len(spacing)
    small = compare(reference, prediction, spacing, Protocol(**rules, surface_tolerance=1.0))
    large = compare(
        reference, prediction, [scale * width for width in spacing], Protocol(**rules, surface_tolerance=scale)
    )
    factors = dict.fromkeys(small.metrics, 1.0) | {"HD95": scale}
    factors |= {name: volume for name in factors if "volume" in name}
    expected = {name: value * factors[name] for name, value in small.metrics.items()}
    assert large.metrics == pytest.approx(expected, nan_ok=True)
    for one, other in zip(small.parts, large.parts, strict=True):
        assert other.size == pytest.approx(volume * one.size)
        assert other.distance == pytest.approx(scale * one.distance, nan_ok=True)
        assert other.hd95 == pytest.approx(scale * one.hd95, nan_ok=True)
        unchanged = {"size": one.size, "distance": one.distance, "hd95": one.hd95}
        assert str(dataclasses.replace(other, **unchanged)) == str(one)


@given(pairs(), RULES)
@EXAMPLES
def test_a_prediction_like_its_reference_is_perfect(pair, rules):
    reference, _, spacing = pair
    comparison = compare(reference, reference, spacing, Protocol(**rules, missed_distance=50.0))
    if not reference.any():
        assert comparison.emptiness == "both_empty"
        return
    ones = ("mIoU", "DSC", "ACC", "SEN", "NSD", "lesion_recall", "lesion_precision", "lesion_f1", "lesion_dice")
    zeros = ("HD95", "volume_difference", "fp_per_case", "missed_volume_per_case", "lesionwise_hd95")
    assert {name: comparison.metrics[name] for name in ones} == pytest.approx(dict.fromkeys(ones, 1.0))
    assert {name: comparison.metrics[name] for name in zeros} == dict.fromkeys(zeros, 0.0)
    assert all(part.dice == part.iou == 1.0 and part.distance == 0.0 for part in comparison.parts)


@given(
    arrays(np.uint16, (5, 6), elements=st.integers(0, 4)),
    arrays(np.uint16, (5, 6), elements=st.integers(0, 4)),
    st.permutations(range(1, 5)),
    st.permutations(range(1, 5)),
)
@EXAMPLES
def test_names_of_components_do_not_matter(lesions, components, lesion_names, component_names):
    def pairs_of(lesions: np.ndarray, components: np.ndarray) -> set[tuple]:
        sizes = [np.bincount(labels.ravel(), minlength=5) for labels in (lesions, components)]
        found = overlaps_between(
            lesions=lesions, reach=lesions, components=components, lesion_voxels=sizes[0], component_voxels=sizes[1]
        )
        return set(zip(*(column.tolist() for column in vars(found).values()), strict=True))

    names = np.array([0, *lesion_names]), np.array([0, *component_names])
    expected = {
        (int(names[0][lesion]), int(names[1][component]), *rest)
        for lesion, component, *rest in pairs_of(lesions, components)
    }
    assert pairs_of(names[0][lesions], names[1][components]) == expected


@given(arrays(np.uint8, (5, 6), elements=st.integers(0, 3)), st.permutations(range(1, 9)))
@EXAMPLES
def test_values_of_labels_do_not_matter(segmentation, values):
    renamed = np.array([0, *values])[segmentation]
    for labels in ((1,), (3,), (1, 2), (2, 3, 1)):
        there = Target("target", tuple(values[label - 1] for label in labels)).mask(renamed)
        assert (there == Target("target", labels).mask(segmentation)).all()
