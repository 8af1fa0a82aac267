"""A training says how many of its lesions are smaller than one token, from hand-drawn segmentations."""

from pathlib import Path

import numpy as np
import pytest
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetNumpy

from nnunetv2_mamba.evaluation.targets import Target
from nnunetv2_mamba.training.records import lesions_below_token
from nnunetv2_mamba.training.records.lesions_below_token import (
    LesionsBelowToken,
    count_lesions_below_token,
    warn_of_lesions_below_token,
)

DATASET = {"labels": {"background": 0, "lesion": 1, "cyst": 2}}
TARGETS = [Target("lesion", (1,)), Target("cyst", (2,))]


def save(folder: Path, case: str, segmentation: np.ndarray) -> None:
    nnUNetDatasetNumpy.save_case(np.zeros(segmentation.shape), segmentation, {}, str(folder / case))


@pytest.fixture
def image(tmp_path) -> Path:
    """One image: lesions of 15, 16 and 3 px, a cyst of 16 px, and a part that nnU-Net cropped away."""
    segmentation = np.zeros((1, 1, 32, 32), np.int8)
    segmentation[0, 0, 0:3, 0:5] = 1
    segmentation[0, 0, 8:12, 8:12] = 1
    segmentation[0, 0, 20, 20:23] = 1
    segmentation[0, 0, 24:28, 24:28] = 2
    segmentation[0, 0, :, 30:] = -1
    save(tmp_path, "image", segmentation)
    return tmp_path


def test_a_lesion_as_large_as_a_token_is_not_below_it(image):
    counts, looked_at = count_lesions_below_token(image, ["image"], targets=TARGETS, token=(4, 4))
    assert counts == [LesionsBelowToken("lesion", 2, 3), LesionsBelowToken("cyst", 0, 1)]
    assert looked_at == 1


def test_the_sentence_has_the_share_the_token_and_a_remedy(image):
    sentence = warn_of_lesions_below_token(image, ["image"], dataset=DATASET, token=(4, 4), network="S3Mamba")
    assert (
        "smaller than one token of S3Mamba (4 x 4 voxels), in 1 of 1 training cases: 67% of lesion (2 of 3)."
        in sentence
    )
    assert "cyst" not in sentence
    assert "-tr nnUNetTrainerCurriculum" in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize("token", [(1, 1), (1, 3)])
def test_nothing_is_said_where_tokens_are_small_enough(image, token):
    assert warn_of_lesions_below_token(image, ["image"], dataset=DATASET, token=token, network="S3Mamba") is None


@pytest.mark.parametrize(("token", "smaller"), [((2, 2, 2), 0), ((2, 2), 1)])
def test_a_network_that_sees_slices_sees_the_largest_slice(tmp_path, token, smaller):
    """A column of 9 voxels fills one pixel of each slice."""
    volume = np.zeros((1, 12, 8, 8), np.int8)
    volume[0, 1:10, 4, 4] = 1
    save(tmp_path, "volume", volume)
    counts, _ = count_lesions_below_token(tmp_path, ["volume"], targets=TARGETS[:1], token=token)
    assert counts == [LesionsBelowToken("lesion", smaller, 1)]


def test_no_more_is_looked_at_than_a_start_may_take(image, monkeypatch):
    monkeypatch.setattr(lesions_below_token, "MAX_CASES", 3)
    assert count_lesions_below_token(image, ["image"] * 10, targets=TARGETS, token=(4, 4))[1] == 3
    monkeypatch.setattr(lesions_below_token, "MAX_VOXELS", 1500)
    assert count_lesions_below_token(image, ["image"] * 10, targets=TARGETS, token=(4, 4))[1] == 2


def test_cases_without_lesions_have_no_share(tmp_path):
    save(tmp_path, "empty", np.zeros((1, 1, 8, 8), np.int8))
    assert warn_of_lesions_below_token(tmp_path, ["empty"], dataset=DATASET, token=(4, 4), network="S3Mamba") is None


def test_a_case_without_a_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="training case absent has neither"):
        warn_of_lesions_below_token(tmp_path, ["absent"], dataset=DATASET, token=(4, 4), network="S3Mamba")
