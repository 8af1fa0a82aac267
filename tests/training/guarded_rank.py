"""One rank of a data-parallel training in which losses are not finite."""

import time
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from nnunetv2_mamba.training.robust_trainer import RobustTrainer
from nnunetv2_mamba.training.safety.gradient_guard import GradientGuard

WORLD_SIZE = 2
INFINITE_STEP, INFINITE_RANK = 1, 1


class Loss(nn.Module):
    def forward(self, output: torch.Tensor, added: float) -> torch.Tensor:
        return output.square().mean() + added


def train(rank: int, folder: Path, results: Connection) -> None:
    """Take three steps; the pipe gets the weights after each, and how many steps were skipped up to there."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{folder / 'rendezvous'}", rank=rank, world_size=WORLD_SIZE)
    torch.manual_seed(0)
    bare = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    network, loss = DistributedDataParallel(bare), Loss()
    optimizer = torch.optim.SGD(bare.parameters(), lr=0.1, momentum=0.9)
    guard = GradientGuard(bare, optimizer, loss)
    for step in range(3):
        data = torch.randn(5, 3, generator=torch.Generator().manual_seed(10 * step + rank))
        infinite = step == INFINITE_STEP and rank == INFINITE_RANK
        with guard.step():
            optimizer.zero_grad()
            loss(network(data), float("inf") if infinite else 0.0).backward()
            optimizer.step()
        results.send(([parameter.tolist() for parameter in bare.parameters()], guard.in_epoch))
    distributed.destroy_process_group()


class StoppingTrainer(RobustTrainer):
    """As much of a trainer as stopping takes; rank 0, the only one that writes, needs its time for it."""

    is_ddp = True
    disable_checkpointing = False
    current_epoch = 0
    grad_scaler = None

    def __init__(self, rank: int, folder: Path) -> None:
        self.local_rank = rank
        self.folder = folder
        self.network = nn.Linear(1, 1)
        self.gradient_guard = SimpleNamespace(in_a_row=25)
        self.logger = SimpleNamespace(local_logger=SimpleNamespace(my_fantastic_logging={}))

    def save_latest(self, next_epoch: int) -> None:
        if self.local_rank == 0:
            time.sleep(1)
            (self.folder / "checkpoint_latest.pth").touch()


def stop(rank: int, folder: Path, results: Connection) -> None:
    """Stop a training that has diverged; ends with its exception."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{folder / 'rendezvous'}", rank=rank, world_size=WORLD_SIZE)
    StoppingTrainer(rank, folder)._stop()
