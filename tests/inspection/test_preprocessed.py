"""Preprocessed cases, read as nnU-Net has written them."""

import numpy as np
import pytest

from nnunetv2_mamba.evaluation.errors import EvaluationError
from nnunetv2_mamba.evaluation.images import read_segmentation
from nnunetv2_mamba.folders.preprocessed import Preprocessed
from tests.inspection.conftest import save_preprocessed


def test_both_formats_of_nnunet_are_found(tmp_path):
    save_preprocessed(tmp_path, "b", np.ones((1, 2, 2)), (1, 2, 2), (999, 1, 1))
    np.savez(tmp_path / "a.npz", seg=np.ones((1, 1, 2, 2)), data=np.zeros((1, 1, 2, 2)))
    (tmp_path / "b.b2nd").touch()
    files = Preprocessed(tmp_path, (0, 1, 2), (1.0, 1.0)).files()
    assert {case: path.name for case, path in files.items()} == {"a": "a.npz", "b": "b_seg.b2nd"}


def test_they_can_be_read_like_files_with_the_spacing_they_have(tmp_path):
    segmentation = np.array([[[-1, 0], [1, 2]]] * 3)
    # The plan's first axis is the last of the image.
    path = save_preprocessed(tmp_path, "a", segmentation, (3, 4, 4), (1.0, 1.0, 5.0))
    in_slices = read_segmentation(Preprocessed(tmp_path, (2, 0, 1), (2.0, 2.0)), path)
    assert in_slices.spacing == (5.0, 2.0, 2.0)
    assert in_slices.array.tolist() == [[[0, 0], [1, 2]]] * 3
    assert read_segmentation(Preprocessed(tmp_path, (2, 0, 1), (4.0, 2.0, 2.0)), path).spacing == (4.0, 2.0, 2.0)


def test_an_image_stays_an_image(tmp_path):
    path = save_preprocessed(tmp_path, "a", np.ones((1, 2, 2)), (1, 2, 2), (999, 1, 1))
    read = read_segmentation(Preprocessed(tmp_path, (0, 1, 2), (1.0, 1.0)), path)
    assert (read.array.shape, read.spacing, read.unit) == ((2, 2), (1.0, 1.0), "px")


def test_the_part_that_nnunet_kept(tmp_path):
    box = [[0, 3], [1, 3], [0, 4]]
    path = save_preprocessed(tmp_path, "a", np.ones((3, 1, 2)), (3, 4, 4), (1.0, 1.0, 1.0), box)
    kept, segmentation = Preprocessed(tmp_path, (0, 1, 2), (1.0, 2.0, 2.0)).resampled(path, (3, 4, 4))
    assert kept == (slice(0, 3), slice(1, 3), slice(0, 4))
    assert segmentation.shape == (3, 1, 2)


def test_labels_that_have_changed_since_are_refused(tmp_path):
    path = save_preprocessed(tmp_path, "a", np.ones((3, 2, 2)), (3, 4, 4), (1.0, 1.0, 1.0))
    with pytest.raises(
        EvaluationError, match=r"image of 3 x 4 x 4 voxels.*have 3 x 5 x 4 now: run nnUNetv2_preprocess"
    ):
        Preprocessed(tmp_path, (0, 1, 2), (1.0, 2.0, 2.0)).resampled(path, (3, 5, 4))


@pytest.mark.parametrize("damaged", ["a_seg.b2nd", "a.pkl"])
def test_a_damaged_file_is_named(tmp_path, damaged):
    path = save_preprocessed(tmp_path, "a", np.ones((3, 2, 2)), (3, 4, 4), (1.0, 1.0, 1.0))
    (tmp_path / damaged).write_bytes(b"nothing of that kind")
    with pytest.raises(OSError, match=rf"{damaged} cannot be read .*: run nnUNetv2_preprocess again"):
        Preprocessed(tmp_path, (0, 1, 2), (1.0, 2.0, 2.0)).resampled(path, (3, 4, 4))
