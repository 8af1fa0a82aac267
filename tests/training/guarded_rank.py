"""One rank of a data-parallel training in which the loss of another rank is infinite."""

from multiprocessing.connection import Connection
from pathlib import Path

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from nnunetv2_mamba.training.gradient_guard import GradientGuard

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
