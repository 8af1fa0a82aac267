"""Stochastic depth."""

import pytest
import torch

from nnunetv2_mamba.building_blocks import DropPath
from nnunetv2_mamba.building_blocks.drop_path import linear_rates


def test_drops_whole_samples_and_scales_the_rest():
    torch.manual_seed(0)
    x = torch.ones(4000, 2, 3)
    y = DropPath(0.25)(x).flatten(1)
    assert (y == y[:, :1]).all()
    kept = y[:, 0] > 0
    torch.testing.assert_close(y[kept, 0], torch.full((int(kept.sum()),), 4 / 3))
    assert kept.float().mean() == pytest.approx(0.75, abs=0.03)


def test_does_nothing_in_evaluation():
    x = torch.randn(3, 4)
    assert DropPath(0.9).eval()(x) is x


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_refuses_impossible_rates(rate):
    with pytest.raises(ValueError, match=str(rate)):
        DropPath(rate)


def test_rates_rise_over_all_blocks():
    rates = linear_rates(0.2, (2, 2, 2, 2))
    assert [len(stage) for stage in rates] == [2, 2, 2, 2]
    flat = [rate for stage in rates for rate in stage]
    assert flat == pytest.approx([0, 0.0286, 0.0571, 0.0857, 0.1143, 0.1429, 0.1714, 0.2], abs=5e-5)
