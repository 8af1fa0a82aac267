"""Lesion sizes from preprocessed segmentations, and the file that keeps them."""

import json
import math
import os

import numpy as np
import pytest
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class, nnUNetDatasetBlosc2, nnUNetDatasetNumpy

from nnunetv2_mamba.training.curriculum.lesion_sizes import CACHE, CurriculumError, LabelCounts, lesion_size
from tests.training.curriculum.conftest import RADII, blob, save_case


def measured(source):
    return dict(source.measure(list(source.files)))


def kept(preprocessed, *cases):
    source = preprocessed.counts(*cases)
    source.keep(measured(source))


def test_voxels_of_each_label(preprocessed):
    counts = measured(preprocessed.counts())
    assert counts["empty"] == {0: 24 * 24}
    assert counts["small"] == {0: 24 * 24 - 16, 1: 16}


def test_negative_labels_and_several_planes_are_counted(preprocessed):
    segmentation = np.concatenate([blob(1), blob(2)], axis=1)
    segmentation[0, 1, 0, :5] = -1
    save_case(preprocessed.data, "volume", segmentation)
    assert measured(preprocessed.counts("volume"))["volume"] == {-1: 5, 0: 2 * 24 * 24 - 4 - 16 - 5, 1: 20}


def test_numpy_datasets_are_read_too(tmp_path):
    segmentation = blob(2)
    nnUNetDatasetNumpy.save_case(segmentation.astype(float), segmentation, {}, str(tmp_path / "case"))
    assert measured(LabelCounts(tmp_path, ["case"]))["case"][1] == 16


def test_nothing_is_known_at_first_and_everything_once_it_is_kept(preprocessed):
    assert preprocessed.counts().known() == {}
    kept(preprocessed)
    assert preprocessed.counts().known() == measured(preprocessed.counts())


def test_a_changed_segmentation_is_forgotten_and_only_that(preprocessed):
    kept(preprocessed)
    for file in preprocessed.data.glob("tiny*"):
        file.unlink()
    save_case(preprocessed.data, "tiny", blob(5))
    os.utime(preprocessed.data / "tiny_seg.b2nd", ns=(1, 1))
    assert preprocessed.counts().known().keys() == set(RADII) - {"tiny"}


def test_other_cases_stay_in_the_cache(preprocessed):
    for case in ("small", "large"):
        kept(preprocessed, case)
    assert preprocessed.counts().known().keys() == {"small", "large"}


def test_nnunet_still_recognises_its_data_beside_the_cache(preprocessed):
    kept(preprocessed)
    assert infer_dataset_class(str(preprocessed.data)) is nnUNetDatasetBlosc2
    assert sorted(nnUNetDatasetBlosc2.get_identifiers(str(preprocessed.data))) == sorted(RADII)
    assert [file.name for file in (preprocessed.data / CACHE).parent.iterdir()] == [CACHE.name]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"small": {"stamp": [0, 0], "voxels": {"1": 5}}}'])
def test_a_damaged_or_outdated_cache_is_no_obstacle(preprocessed, content):
    (preprocessed.data / CACHE).parent.mkdir()
    (preprocessed.data / CACHE).write_text(content)
    assert preprocessed.counts().known() == {}
    kept(preprocessed)
    assert json.loads((preprocessed.data / CACHE).read_text()).keys() == set(RADII)


def test_a_vanished_case_is_named(preprocessed):
    (preprocessed.data / "small_seg.b2nd").unlink()
    with pytest.raises(CurriculumError, match=r"case small has neither small_seg.b2nd nor small.npz in .*: run nnUNet"):
        preprocessed.counts()


@pytest.mark.parametrize(
    ("voxels", "classes", "ignore", "expected"),
    [
        ({0: 90, 1: 10}, [1], None, 0.1),
        ({0: 80, 1: 15, 2: 5}, [1, 2], None, 0.05),
        ({0: 85, 1: 15}, [1, 2], None, 0.15),
        ({0: 80, 1: 15, 2: 5}, [(1, 2), (2,)], None, 0.05),
        ({0: 80, 1: 15, 2: 5}, [(1, 2)], None, 0.2),
        ({0: 40, 1: 10, 3: 50}, [1, 2], 3, 0.2),
        ({-1: 50, 0: 40, 1: 10}, [1], None, 0.1),
    ],
    ids=["one class", "smallest of two", "one of two", "smallest region", "one region", "ignore label", "cropped"],
)
def test_lesion_size(voxels, classes, ignore, expected):
    assert lesion_size(voxels, classes, ignore) == pytest.approx(expected)


@pytest.mark.parametrize(("voxels", "ignore"), [({0: 10}, None), ({0: 5, 3: 5}, 3), ({3: 5}, 3)])
def test_no_lesion_has_no_size(voxels, ignore):
    assert math.isnan(lesion_size(voxels, [1, 2], ignore))
