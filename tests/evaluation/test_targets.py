"""What dataset.json asks to evaluate, where it asks for something odd."""

import numpy as np
import pytest

from nnunetv2_mamba.evaluation.targets import Target, ignore_label_of, targets_of
from tests.evaluation.drawings import labels


def test_masks_of_labels_and_regions():
    segmentation = labels("""
        0123
        3210
    """)
    assert (Target("core", (2,)).mask(segmentation) == labels("..1.\n.1..")).all()
    assert (Target("all", (1, 2, 3)).mask(segmentation) == (segmentation > 0)).all()
    # As nnU-Net's readers give them.
    assert (Target("two", (3, 1)).mask(segmentation.astype(np.float32)) == np.isin(segmentation, (1, 3))).all()


def test_a_region_of_background_only_is_no_target():
    dataset = {"labels": {"background": 0, "nothing": [0], "lesion": 1}}
    assert targets_of(dataset) == [Target("lesion", (1,))]


def test_numbers_written_as_text_are_numbers():
    dataset = {"labels": {"background": "0", "lesion": "1"}}
    assert targets_of(dataset) == [Target("lesion", (1,))]
    assert ignore_label_of(dataset) is None


def test_without_foreground_there_is_nothing_to_evaluate():
    with pytest.raises(ValueError, match=r"names no foreground label, only background, ignore: add one\."):
        targets_of({"labels": {"background": 0, "ignore": 1}})


def test_labels_of_nnunet_v1_are_refused_in_a_sentence():
    with pytest.raises(ValueError, match="the label 0 is 'background': nnU-Net v2 wants a name and its number"):
        targets_of({"labels": {"0": "background", "1": "lesion"}})
