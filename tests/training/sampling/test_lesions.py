"""Boxes of the lesions of preprocessed cases."""

import numpy as np
import pytest

from nnunetv2_mamba.training.measured_cases import FOLDER
from nnunetv2_mamba.training.sampling.lesions import Lesions, SamplingError, lesion_boxes
from tests.training.curriculum.conftest import RADII, blob, save_case


def boxes_of(preprocessed, *cases, classes=(1,)):
    return lesion_boxes(preprocessed.data, cases or tuple(RADII), classes).of_all(ddp=False, say=print)


def test_a_box_holds_its_lesion_and_no_more(preprocessed):
    boxes = boxes_of(preprocessed)
    assert boxes["empty"] == []
    for name, radius in RADII.items():
        if radius:
            (box,) = boxes[name]
            assert box[:7] == [4 * radius**2, 0, 12 - radius, 12 - radius, 1, 12 + radius, 12 + radius]
            anchors = np.array(box[7:]).reshape(-1, 3)
            assert len(np.unique(anchors, axis=0)) == len(anchors) == min(8, 4 * radius**2)
            assert blob(radius)[0][tuple(anchors.T)].all()


def test_lesions_of_a_volume_and_of_several_classes(preprocessed):
    volume = np.concatenate([blob(2)] * 5, axis=1)
    volume[0, :2] = 0
    volume[0, 4, 0, 0], volume[0, 3, 12, 12], volume[0, 0, 0, :3] = 1, 2, -1
    save_case(preprocessed.data, "volume", volume)
    (first, corner, other) = (box[:7] for box in boxes_of(preprocessed, "volume", classes=(1, 2))["volume"])
    assert sorted((first, corner)) == [[1, 4, 0, 0, 5, 1, 1], [3 * 16 - 1, 2, 10, 10, 5, 14, 14]]
    assert other == [1, 3, 12, 12, 4, 13, 13]
    (whole, _) = sorted(boxes_of(preprocessed, "volume", classes=((1, 2),))["volume"], reverse=True)
    assert whole[:7] == [3 * 16, 2, 10, 10, 5, 14, 14]


def test_boxes_are_read_again_and_each_choice_of_classes_has_its_own(preprocessed):
    found = boxes_of(preprocessed)
    source = lesion_boxes(preprocessed.data, tuple(RADII), (1,))
    assert source.known() == found
    assert lesion_boxes(preprocessed.data, tuple(RADII), ((1, 2),)).known() == {}
    assert {file.name for file in (preprocessed.data / FOLDER).iterdir()} == {"boxes_of_1.json"}


def test_many_classes_have_a_file_of_a_name_that_is_short_enough(preprocessed):
    boxes_of(preprocessed, classes=tuple(range(1, 200)))
    (file,) = (preprocessed.data / FOLDER).iterdir()
    assert len(file.name) < 80


def test_lesions_know_their_cases(preprocessed):
    lesions = Lesions.of_boxes(boxes_of(preprocessed))
    assert lesions.cases == sorted(set(RADII) - {"empty"})
    assert lesions.voxels.tolist() == [4 * RADII[case] ** 2 for case in lesions.cases]


def test_probabilities_fall_with_the_size():
    lesions = Lesions.of_boxes({"a": [[1, *[0] * 6], [4, *[0] * 6]], "b": [[16, *[0] * 6]]})
    assert lesions.probabilities(0).tolist() == pytest.approx([1 / 3] * 3)
    assert lesions.probabilities(0.5).tolist() == pytest.approx([4 / 7, 2 / 7, 1 / 7])


def test_cases_without_any_lesion_are_refused():
    with pytest.raises(SamplingError, match="none of the 2 training cases has foreground, so there are no lesions to"):
        Lesions.of_boxes({"a": [], "b": []})


def test_a_vanished_case_is_named(preprocessed):
    (preprocessed.data / "small_seg.b2nd").unlink()
    with pytest.raises(SamplingError, match=r"case small has neither small_seg.b2nd nor small.npz in .*: run nnUNet"):
        boxes_of(preprocessed)
