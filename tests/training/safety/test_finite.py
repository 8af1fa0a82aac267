"""Batches with NaN or infinite values are refused by name."""

import pytest
import torch

from nnunetv2_mamba.training.safety.finite import require_finite


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("shape", [(3, 2, 5, 4), (3, 1, 4, 3, 2)], ids=["2d", "3d"])
def test_every_bad_case_is_named_and_no_other(value, shape):
    data = torch.zeros(shape)
    data[0].view(-1)[-1] = data[2].view(-1)[0] = value
    with pytest.raises(ValueError, match="the preprocessed images of case_a, case_c hold NaN or infinite values"):
        require_finite({"data": data, "keys": ["case_c", "case_b", "case_a"]})


def test_infinities_that_cancel_in_no_sum_are_found():
    data = torch.tensor([float("inf"), -float("inf")]).reshape(1, 1, 2, 1)
    with pytest.raises(ValueError, match="case"):
        require_finite({"data": data, "keys": ["case"]})


def test_large_values_whose_sum_overflows_are_fine():
    require_finite({"data": torch.full((1, 1, 4, 4), 3e38), "keys": ["case"]})
