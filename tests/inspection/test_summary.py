"""Every number of the report, counted by hand."""

import json
import math

import numpy as np
import pytest

from nnunetv2_mamba.evaluation.targets import Target
from nnunetv2_mamba.folders.preprocessed import Preprocessed
from nnunetv2_mamba.inspection.summary import (
    PlannedConfiguration,
    PlannedNetwork,
    Setting,
    diameter,
    quantiles,
    smaller_half_share,
)
from tests.evaluation.drawings import labels
from tests.inspection.conftest import save_preprocessed

IMAGES = {
    "first": labels("""
1....222
...11222
...11..1
"""),
    "second": labels("""
........
.1......
........
"""),
    "empty": np.zeros((3, 8), dtype=int),
}
TWO = (Target("ones", (1,)), Target("twos", (2,)))
TOKENS = PlannedNetwork("nnUNetTrainerS3Mamba", "S3Mamba", (2, 2), (4, 4))


def test_images(summary_of):
    summary = summary_of(IMAGES, targets=TWO)
    ones = summary["targets"]["ones"]
    assert summary["size_unit"] == summary["unit"] == "px"
    assert (summary["cases"], summary["lesion_free_cases"]) == (3, 1)
    assert (ones["cases_with"], ones["cases_without"], ones["lesions"]) == (2, 1, 4)
    assert ones["lesions_per_case_with"]["median"] == 2
    assert ones["lesions_per_case_with"]["max"] == 3
    assert (ones["size"]["min"], ones["size"]["median"], ones["size"]["max"]) == (1, 1, 4)
    assert ones["touch_border"] == 3
    assert ones["touch_another_class"] == 2
    assert summary["targets"]["twos"]["touch_another_class"] == 1
    assert ones["annotated_below_min_voxels"] == 3
    assert ones["in_one_slice"] is None
    assert ones["foreground_fraction"] == pytest.approx(7 / 72)
    assert summary["foreground_fraction"]["max"] == pytest.approx(12 / 24)
    assert ones["smaller_half_share"] == pytest.approx(2 / 7)
    assert ones["resampled"] is None
    json.dumps(summary, allow_nan=False)


def test_faces_only(summary_of):
    diagonal = {
        "a": labels("""
1..
.1.
""")
    }
    assert summary_of(diagonal)["targets"]["blob"]["lesions"] == 1
    assert summary_of(diagonal, connectivity="faces")["targets"]["blob"]["lesions"] == 2


def test_sizes_of_an_anisotropic_volume(summary_of):
    volume = labels("""
11.  11.  ...
11.  ...  ...
...  ...  ..1
""")
    summary = summary_of({"a": volume}, spacing=(3.0, 0.5, 0.5))
    blob = summary["targets"]["blob"]
    assert summary["size_unit"] == "mm^3"
    assert blob["voxels"]["max"] == 6
    assert blob["size"]["max"] == pytest.approx(4.5)
    assert blob["diameter"]["max"] == pytest.approx((6 * 4.5 / math.pi) ** (1 / 3))
    assert blob["in_one_slice"] == 1
    assert blob["touch_border"] == 2


def test_regions_overlap_and_so_do_not_touch(summary_of):
    regions = (Target("whole", (1, 2)), Target("core", (2,)))
    summary = summary_of({"a": labels("1122.1")}, targets=regions)
    assert summary["targets"]["whole"]["lesions"] == 2
    assert summary["targets"]["core"]["lesions"] == 1
    assert summary["targets"]["whole"]["touch_another_class"] is None
    assert summary["foreground_fraction"]["max"] == pytest.approx(5 / 6)


def test_what_nobody_annotated_counts_for_no_fraction(summary_of):
    summary = summary_of({"a": labels("1...9999")}, ignore_label=9)
    assert summary["ignored_fraction"] == 0.5
    assert summary["targets"]["blob"]["foreground_fraction"] == 0.25


def test_an_estimate_of_what_resampling_leaves(summary_of):
    plan = PlannedConfiguration("nnUNetPlans", "2d", (2.0, 3.0), (8, 8))
    summary = summary_of(IMAGES, targets=TWO, setting=Setting(min_voxels=3, plan=plan, network=TOKENS))
    resampled = summary["targets"]["ones"]["resampled"]
    assert (resampled["how"], resampled["cases"], resampled["vanished"]) == ("estimated", 3, None)
    assert resampled["voxels"]["max"] == pytest.approx(4 / 6)
    assert (resampled["below_min_voxels"], resampled["below_token"]) == (4, 4)


def test_what_resampling_has_left(summary_of, tmp_path):
    image = labels("""
11......
11..1...
....2222
....2222
""")
    preprocessed = labels("""
1...
..22
""")
    save_preprocessed(tmp_path, "first", preprocessed[None], (1, 4, 8), (999, 1, 1))
    setting = Setting(min_voxels=2, plan=PlannedConfiguration("nnUNetPlans", "2d", (2.0, 2.0), (8, 8)), network=TOKENS)
    kept = Preprocessed(tmp_path, (0, 1, 2), (2.0, 2.0))
    # The second case has not been preprocessed, so it is not compared.
    arrays = {"first": image, "second": labels("1...")}
    summary = summary_of(arrays, targets=TWO, setting=setting, preprocessed=kept)
    ones = summary["targets"]["ones"]
    assert ones["lesions"] == 3
    assert ones["resampled"] | {"voxels": None} == {
        "how": "measured",
        "cases": 1,
        "lesions": 2,
        "voxels": None,
        "below_min_voxels": 2,
        "vanished": 1,
        "below_token": 2,
    }
    twos = summary["targets"]["twos"]["resampled"]
    assert (twos["below_min_voxels"], twos["vanished"], twos["below_token"]) == (0, 0, 1)
    assert summary["per_case"][0]["targets"]["ones"]["resampled"] == [1, 0]


def test_a_network_for_slices_sees_the_largest_slice_of_a_lesion(summary_of, tmp_path):
    # Slices are across the last axis of the image: the lesion has 1, 4 and 1 voxels in them.
    volume = np.zeros((4, 4, 3), dtype=int)
    volume[:2, :2, 1], volume[0, 0] = 1, 1
    save_preprocessed(tmp_path, "a", volume.transpose(2, 0, 1), (3, 4, 4), (1.0, 1.0, 5.0))
    setting = Setting(min_voxels=5, plan=PlannedConfiguration("nnUNetPlans", "2d", (1.0, 1.0), (8, 8)), network=TOKENS)
    summary = summary_of(
        {"a": volume},
        spacing=(1.0, 1.0, 5.0),
        setting=setting,
        preprocessed=Preprocessed(tmp_path, (2, 0, 1), (1.0, 1.0)),
        transpose=(2, 0, 1),
        slicewise=True,
    )
    blob = summary["targets"]["blob"]
    assert blob["voxels"]["max"] == 6
    assert blob["size"]["max"] == 30
    assert blob["annotated_below_min_voxels"] == 1
    assert blob["resampled"]["voxels"]["max"] == 4
    assert (blob["resampled"]["below_min_voxels"], blob["resampled"]["below_token"]) == (1, 0)
    assert blob["in_one_slice"] == 0


def test_only_preprocessed_segmentations(summary_of):
    setting = Setting(2, PlannedConfiguration("nnUNetPlans", "2d", (1.0, 1.0), (8, 8)), TOKENS, only_preprocessed=True)
    ones = summary_of(IMAGES, targets=TWO, setting=setting)["targets"]["ones"]
    assert ones["touch_border"] is ones["annotated_below_min_voxels"] is ones["resampled"]["vanished"] is None
    assert (ones["resampled"]["how"], ones["resampled"]["below_min_voxels"]) == ("measured", 3)


def test_a_class_that_no_case_has(summary_of):
    blob = summary_of({"a": labels("...")})["targets"]["blob"]
    assert (blob["lesions"], blob["size"], blob["smaller_half_share"]) == (0, None, None)


def test_small_functions():
    assert quantiles([]) is None
    assert quantiles([1.0, 3.0])["median"] == 2
    assert smaller_half_share(np.array([5, 1, 2])) == pytest.approx(1 / 8)
    assert diameter(np.array([math.pi]), 2).tolist() == [2.0]
    assert diameter(np.array([math.pi / 6]), 3) == pytest.approx(1)
