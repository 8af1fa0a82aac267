"""Warnings come when there is a reason, say how many it is about, and what to do."""

import numpy as np
import pytest

from nnunetv2_mamba.evaluation.targets import Target
from nnunetv2_mamba.folders.preprocessed import Preprocessed
from nnunetv2_mamba.inspection.findings import findings_of
from nnunetv2_mamba.inspection.summary import PlannedConfiguration, PlannedNetwork, Setting
from tests.evaluation.drawings import labels
from tests.inspection.conftest import save_preprocessed

PLAN = PlannedConfiguration("nnUNetPlans", "2d", (1.0, 1.0), (8, 8))
TOKENS = PlannedNetwork("nnUNetTrainerS3Mamba", "S3Mamba", (4, 4), (32, 32))
SQUARE = np.pad(np.ones((5, 5), dtype=int), 2)
DOT = labels("""
...
.1.
...
""")
EMPTY = np.zeros((9, 9), dtype=int)


def many(**images: np.ndarray) -> dict[str, np.ndarray]:
    """Ten cases of each image."""
    return {f"{name}{index}": image for name, image in images.items() for index in range(10)}


def by_kind(summary, splits=({"train": [], "val": []},), written=False) -> dict[str, str]:
    """Warnings about lesions, by kind; the folds are looked at apart."""
    found = findings_of(summary, splits, written)
    return {finding.kind: finding.text for finding in found if not finding.kind.startswith("absent_from")}


def test_nothing_to_warn_of(summary_of):
    assert by_kind(summary_of(many(a=SQUARE), setting=Setting(10, PLAN, TOKENS))) == {}


def test_a_class_that_no_case_has(summary_of):
    targets = (Target("blob", (1,)), Target("ghost", (2,)))
    found = by_kind(summary_of(many(a=SQUARE), targets=targets))
    assert found.keys() == {"absent"}
    assert "no case has ghost" in found["absent"]


def test_few_cases(summary_of):
    found = by_kind(summary_of({"a": SQUARE, **many(b=EMPTY)}))
    assert found["few_cases"].startswith("only 1 case of 11 has blob:")


def test_tiny_before_there_are_plans(summary_of):
    found = by_kind(summary_of(many(a=SQUARE, b=DOT)))
    assert found["tiny"].startswith(
        "10 of 20 lesions (50%) of blob have fewer than 3 voxels: check that they are not annotation errors"
    )


def test_tiny_as_annotated_is_not_blamed_on_resampling(summary_of):
    found = by_kind(summary_of(many(a=SQUARE, b=DOT), setting=Setting(3, PLAN)))
    assert found["tiny"] == (
        "10 of 20 lesions (50%) of blob have fewer than 3 px of 2d (an estimate): check that they are not annotation "
        "errors, and evaluate them as a separate stratum."
    )


def test_made_tiny_by_resampling(summary_of):
    coarse = PlannedConfiguration("nnUNetPlans", "2d", (3.0, 3.0), (8, 8))
    found = by_kind(summary_of(many(a=SQUARE), setting=Setting(3, coarse)))
    assert found["tiny"].endswith(
        "in the annotation it is 0, so add a configuration to the plans that inherits from 2d and has a finer spacing."
    )


def test_smaller_than_a_token(summary_of):
    found = by_kind(summary_of(many(a=SQUARE, b=SQUARE[:, :4]), setting=Setting(3, PLAN, TOKENS)))
    assert found["below_token"].startswith(
        "10 of 20 lesions (50%) of blob are smaller than one token of S3Mamba (4 x 4 px) (an estimate): "
    )


def test_a_network_at_full_resolution_has_no_tokens_to_be_smaller_than(summary_of):
    plain = PlannedNetwork("nnUNetTrainer", "PlainConvUNet", (1, 1), (32, 32))
    assert "below_token" not in by_kind(summary_of(many(a=DOT), setting=Setting(1, PLAN, plain)))


@pytest.mark.parametrize(
    ("configuration", "spacing", "remedy"),
    [
        ("3d_fullres", (4.0, 1.0, 1.0), "plan a finer spacing (nnUNetv2_plan_experiment -overwrite_target_spacing)."),
        ("3d_lowres", (4.0, 1.0, 1.0), "take 3d_fullres or the cascade."),
        ("2d", (1.0, 1.0), "see whether -c 3d_fullres does better."),
    ],
)
def test_vanished(summary_of, tmp_path, configuration, spacing, remedy):
    volume = np.zeros((4, 4, 4), dtype=int)
    volume[0, 0, 0], volume[2:, 2:, 2:] = 1, 1
    resampled = volume.copy()
    resampled[0, 0, 0] = 0
    for case in ("a", "b"):
        save_preprocessed(tmp_path, case, resampled, (4, 4, 4), (4.0, 1.0, 1.0))
    summary = summary_of(
        {"a": volume, "b": volume},
        spacing=(4.0, 1.0, 1.0),
        setting=Setting(1, PlannedConfiguration("nnUNetPlans", configuration, spacing, (4,) * len(spacing))),
        preprocessed=Preprocessed(tmp_path, (0, 1, 2), spacing),
        slicewise=configuration == "2d",
    )
    text = by_kind(summary)["vanished"]
    assert text.startswith(f"2 of 4 lesions (50%) of blob vanish when {configuration} resamples to ")
    assert text.endswith(remedy)


def test_lesions_that_dice_hardly_shows(summary_of):
    large = np.pad(np.ones((20, 20), dtype=int), 2)
    found = by_kind(summary_of(many(a=large, b=SQUARE)))
    # 250 of 4250 px.
    assert "the smaller half of the 20 lesions of blob has 5.9% of its volume" in found["hidden_from_dice"]
    assert "hidden_from_dice" not in by_kind(summary_of(many(a=SQUARE)))


def of_folds(summary, splits, written=True) -> dict[str, str]:
    found = findings_of(summary, splits, written)
    return {entry.kind: entry.text for entry in found if entry.kind.startswith("absent_from") or "folds" in entry.kind}


def test_folds_without_a_class(summary_of):
    summary = summary_of({"a": SQUARE, "b": SQUARE, "c": EMPTY, "d": EMPTY})
    splits = [
        {"train": ["a", "c"], "val": ["b", "d"]},
        {"train": ["c", "d"], "val": ["a"]},
        {"train": ["a"], "val": ["c"]},
    ]
    found = of_folds(summary, splits)
    assert found.keys() == {"absent_from_validation", "absent_from_training"}
    assert found["absent_from_validation"].startswith(
        "in splits_final.json, fold 2 has no blob among its validation cases"
    )
    assert found["absent_from_training"].startswith("in splits_final.json, fold 1 has no blob among its training cases")
    assert "the split that nnU-Net is going to make" in of_folds(summary, splits, written=False)["absent_from_training"]


def test_folds_of_cases_that_do_not_exist(summary_of):
    found = of_folds(summary_of({"a": SQUARE, "b": SQUARE}), [{"train": ["a", "x"], "val": ["b"]}])
    assert found.keys() == {"unknown_cases_in_folds"}
    assert "names x, which" in found["unknown_cases_in_folds"]


def test_too_few_cases_for_folds(summary_of):
    assert of_folds(summary_of({"a": SQUARE}), [], written=False).keys() == {"too_few_cases_for_folds"}
