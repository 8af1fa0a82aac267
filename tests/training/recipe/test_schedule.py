"""The learning rate over the epochs."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nnunetv2_mamba.training.recipe.schedule import WarmupCosineSchedule, learning_rate_factor


def rates(num_epochs: int, max_warmup_epochs: int = 10, initial_lr: float = 1.0) -> list[float]:
    optimizer = torch.optim.AdamW([{"params": [torch.zeros(1)]}, {"params": [torch.zeros(1)]}], lr=123.0)
    schedule = WarmupCosineSchedule(
        optimizer, initial_lr=initial_lr, num_epochs=num_epochs, max_warmup_epochs=max_warmup_epochs
    )
    result = []
    for epoch in range(num_epochs):
        schedule.step(epoch)
        first, second = (group["lr"] for group in optimizer.param_groups)
        assert first == second
        result.append(first)
    return result


def test_hand_computed_values():
    assert rates(4, max_warmup_epochs=0) == pytest.approx([1, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2])
    assert rates(20, initial_lr=3.0)[:3] == pytest.approx([1.0, 2.0, 3.0])


def test_a_single_epoch_trains_at_the_full_rate():
    assert rates(1) == [1.0]


@given(num_epochs=st.integers(1, 2000), max_warmup_epochs=st.integers(0, 50))
def test_rises_then_falls_to_the_end_and_is_never_zero(num_epochs, max_warmup_epochs):
    values = rates(num_epochs, max_warmup_epochs)
    peak = min(max_warmup_epochs, num_epochs // 10)
    assert values[peak] == max(values) == 1.0
    assert values[: peak + 1] == sorted(values[: peak + 1])
    assert values[peak:] == sorted(values[peak:], reverse=True)
    assert values[-1] > 0
    if num_epochs - peak > 1:
        assert values[-1] <= learning_rate_factor(1, 2, 0)


def test_resuming_needs_only_the_epoch():
    whole = rates(50)
    optimizer = torch.optim.AdamW([torch.zeros(1)], lr=0.0)
    WarmupCosineSchedule(optimizer, initial_lr=1.0, num_epochs=50, max_warmup_epochs=10).step(37)
    assert optimizer.param_groups[0]["lr"] == whole[37]
