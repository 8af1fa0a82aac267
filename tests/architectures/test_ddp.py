"""Data-parallel training steps of two processes."""

from pathlib import Path

import pytest
import torch

from tests.architectures.small_networks import sweep
from tests.conftest import ROOT, without_our_variables
from tests.distributed import needs_distributed, run_together

STEP = Path(__file__).with_name("ddp_step.py")
WORLD_SIZE = 2


@pytest.fixture(scope="module")
def ranks(tmp_path_factory) -> list[dict]:
    """What each rank found."""
    folder = tmp_path_factory.mktemp("ddp")
    environment = without_our_variables() | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    commands = [(STEP, str(rank), str(WORLD_SIZE), folder) for rank in range(WORLD_SIZE)]
    run_together(commands, [environment] * WORLD_SIZE)
    return [torch.load(folder / f"rank_{rank}.pth", weights_only=True) for rank in range(WORLD_SIZE)]


@needs_distributed
@pytest.mark.parametrize("deep_supervision", [True, False], ids=["ds", "no-ds"])
@sweep
def test_ranks_agree_on_the_mean_of_their_gradients(ranks, name, deep_supervision):
    case = f"{name} {deep_supervision}"
    first, second = (rank["together"][case] for rank in ranks)
    alone = [rank["alone"][case] for rank in ranks]
    assert first.keys() == second.keys() == alone[0].keys()
    assert any(not torch.equal(alone[0][key], alone[1][key]) for key in first)
    for key, gradient in first.items():
        assert torch.equal(gradient, second[key])
        torch.testing.assert_close(gradient, (alone[0][key] + alone[1][key]) / WORLD_SIZE, rtol=1e-4, atol=1e-6)
