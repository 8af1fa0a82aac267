"""Label maps of arrays that hold more than labels should."""

from pathlib import Path

import numpy as np
import pytest

from nnunetv2_mamba.evaluation.errors import EvaluationError
from nnunetv2_mamba.evaluation.images import read_segmentation, require_known_labels
from nnunetv2_mamba.evaluation.label_maps import mapped, parse_values, whole_numbers

PATH = Path("case.nii.gz")


class IntegerReader:
    """Gives out one array as it is, which nnU-Net's readers would turn into 32-bit floating-point numbers."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def read_seg(self, seg_fname: str) -> tuple[np.ndarray, dict]:
        return self.array[None], {"spacing": (1.0,) * self.array.ndim}


@pytest.mark.parametrize("kind", [np.int64, np.uint64, np.uint32])
@pytest.mark.parametrize("values", [{}, {255: 1}])
def test_a_value_that_32_bits_do_not_hold_is_no_label(kind, values):
    large = 2**31 + 1 if kind is np.uint32 else 2**32 + 1
    array = np.array([[[0, 1, 255 if values else 1, large]]], kind)
    segmentation = read_segmentation(IntegerReader(array), PATH, values)
    assert segmentation.array.ravel().tolist() == [0, 1, 1, large]
    with pytest.raises(
        EvaluationError, match=rf"case\.nii\.gz has the values {large}, which dataset\.json does not name"
    ):
        require_known_labels(segmentation, frozenset({0, 1}))


def test_a_value_that_32_bits_do_not_hold_can_be_replaced():
    assert mapped(np.array([0, 2**32 + 1, 1]), {2**32 + 1: 2, 1: 0}).tolist() == [0, 2, 0]


@pytest.mark.parametrize("value", [2**63, 2**64 - 1])
def test_a_value_that_64_bits_with_a_sign_do_not_hold_is_refused(value):
    with pytest.raises(EvaluationError, match=rf"has values as large as {value}: this is not a label map"):
        whole_numbers(np.array([1, value], np.uint64), PATH)
    assert whole_numbers(np.array([1, 2**63 - 1], np.uint64), PATH)[0].tolist() == [1, 2**63 - 1]


def test_replacing_small_values_takes_no_more_memory_than_before():
    for kind in (np.uint8, np.int16, np.int32):
        assert mapped(np.array([0, 100], kind), {100: 1, 255: 2}).dtype == np.int32


@pytest.mark.parametrize("new", [2**31, 2**63])
def test_a_new_label_that_is_too_large_is_refused(new):
    with pytest.raises(EvaluationError, match=rf"--values 255={new} names a label above 2147483647: write for example"):
        parse_values([f"255={new}"])
    assert parse_values([f"{new}=1"]) == {new: 1}
