"""Data-parallel training steps of two processes."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import without_our_variables

STEP = Path(__file__).with_name("ddp_step.py")
WORLD_SIZE = 2


@pytest.fixture(scope="module")
def ranks(tmp_path_factory) -> list[dict]:
    """What each rank found."""
    folder = tmp_path_factory.mktemp("ddp")
    environment = without_our_variables() | {"OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, str(STEP), str(rank), str(WORLD_SIZE), str(folder)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(WORLD_SIZE)
    ]
    try:
        output = [process.communicate(timeout=120)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert not any(process.returncode for process in processes), "\n".join(output)
    return [torch.load(folder / f"rank_{rank}.pth", weights_only=True) for rank in range(WORLD_SIZE)]


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch is built without torch.distributed")
@pytest.mark.parametrize("deep_supervision", [True, False], ids=["ds", "no-ds"])
@pytest.mark.parametrize("network", ["VMUNet", "S3Mamba"])
def test_ranks_agree_on_the_mean_of_their_gradients(ranks, network, deep_supervision):
    case = f"{network} {deep_supervision}"
    first, second = (rank["together"][case] for rank in ranks)
    alone = [rank["alone"][case] for rank in ranks]
    assert first.keys() == second.keys() == alone[0].keys()
    assert any(not torch.equal(alone[0][name], alone[1][name]) for name in first)
    for name, gradient in first.items():
        assert torch.equal(gradient, second[name])
        torch.testing.assert_close(gradient, (alone[0][name] + alone[1][name]) / WORLD_SIZE, rtol=1e-4, atol=1e-6)
