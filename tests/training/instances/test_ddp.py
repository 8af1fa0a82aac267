"""The loss of lesions of two processes against that of one which sees the same global batch."""

import os
from pathlib import Path

import torch
from torch.testing import assert_close

from tests.conftest import ROOT
from tests.distributed import needs_distributed, run_together

SCRIPT = Path(__file__).with_name("ddp_loss.py")


@needs_distributed
def test_every_lesion_of_all_processes_counts_as_much(tmp_path):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    ranks = ((0, 1), (0, 2), (1, 2))
    run_together(
        [(SCRIPT, str(rank), str(processes), tmp_path / "run") for rank, processes in ranks], [environment] * 3
    )
    alone, *shares = (torch.load(tmp_path / f"run.{name}", weights_only=True) for name in ("1.0", "2.0", "2.1"))
    for name, gradient in alone.items():
        assert gradient.any()
        assert_close(torch.cat([share[name] for share in shares]), gradient, rtol=1e-5, atol=1e-8)
