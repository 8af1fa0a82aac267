"""Free-response ROC curves against numbers computed by hand."""

import numpy as np
import pytest

from benchmarks.small_lesions.curves import Counts, Strata, area_up_to, recall_at
from benchmarks.small_lesions.scoring import THRESHOLDS

N = len(THRESHOLDS)


def case(voxels: list[int], detected: list[int], false_positives: list[int], group: str) -> dict:
    scores = {"voxels": voxels, "detected": [f"{bits:x}" for bits in detected], "false_positives": false_positives}
    return {"group": group, "classes": {"lesion": scores}}


def test_counts_by_stratum():
    cases = {
        "b": case([9, 100], [0b11] * 5 + [0b10] * (N - 5), [2] * 5 + [0] * (N - 5), "y"),
        "a": case([5], [0b1] * N, [1] * N, "x"),
    }
    strata = Strata(bounds=(9.0, 50.0), token=6)
    counts = Counts.of(cases, "lesion", strata)
    assert counts.groups == ["x", "y"]
    assert {name: number.tolist() for name, number in counts.lesions.items()} == {
        "all": [1, 2], "small": [1, 1], "medium": [0, 0], "large": [0, 1], "below token": [1, 0]
    }  # fmt: skip
    false_positives, recall = counts.curve("small", np.array([[1.0, 1.0], [0.0, 2.0]]))
    assert false_positives[:, 0].tolist() == [1.5, 2.0]
    assert false_positives[:, -1].tolist() == [0.5, 0.0]
    assert recall[:, 0].tolist() == [1.0, 1.0]
    assert recall[:, -1].tolist() == [0.5, 0.0]
    assert np.isnan(counts.curve("medium", np.ones((1, 2)))[1]).all()


def test_strata_are_thirds():
    strata = Strata.of(np.arange(1, 10), dimensions=3)
    members = strata.members(np.arange(1, 10))
    assert [int(members[name].sum()) for name in ("small", "medium", "large")] == [3, 3, 3]
    assert strata.token == 64


@pytest.mark.parametrize(("at", "expected"), [(0.0, 0.0), (0.5, 0.2), (1.0, 0.4), (2.0, 0.6), (3.0, 0.8), (9.0, 0.8)])
def test_recall_between_thresholds_is_interpolated_and_ends_with_the_curve(at, expected):
    false_positives, recall = np.array([[3.0, 1.0]]), np.array([[0.8, 0.4]])
    assert recall_at(false_positives, recall, at) == pytest.approx([expected])


def test_recall_never_falls_with_more_false_positives():
    """A merged component may hide a lesion at a low threshold, where a higher one would be chosen."""
    false_positives, recall = np.array([[3.0, 2.0, 1.0]]), np.array([[0.5, 0.3, 0.4]])
    assert recall_at(false_positives, recall, 2.0) == pytest.approx([0.4])


def test_the_area_is_the_mean_recall():
    false_positives, recall = np.array([[1.0], [4.0]]), np.array([[0.5], [0.8]])
    # A triangle and a rectangle; a triangle that is cut off at 2.
    assert area_up_to(false_positives, recall, 2.0) == pytest.approx([(0.25 + 0.5) / 2, 0.2])
