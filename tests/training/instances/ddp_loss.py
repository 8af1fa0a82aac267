"""One process of a data-parallel loss of lesions on the CPU, run by test_ddp.py; writes the gradients."""

import sys
from pathlib import Path

import torch
from torch import distributed

from nnunetv2_mamba.training.curriculum.loss import CaseWeightedLoss
from nnunetv2_mamba.training.instances.cells import cells_of
from nnunetv2_mamba.training.instances.loss import InstanceLoss
from nnunetv2_mamba.training.instances.terms import BiCC, BlobLoss, ComponentTversky
from tests.training.curriculum.test_loss import stock_loss

SAMPLES = 5
TERMS = {"BiCC": BiCC(0.25), "blob": BlobLoss(), "Tversky": ComponentTversky()}


def gradients(rank: int, processes: int) -> dict[str, torch.Tensor]:
    """Of batches that do not divide evenly, averaged as DDP does; all samples without lesions are in one process."""
    share = slice(rank * SAMPLES // processes, (rank + 1) * SAMPLES // processes)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(SAMPLES, 2, 8, 9, generator=generator)[share].requires_grad_()
    target = (torch.rand(SAMPLES, 1, 8, 9, generator=generator) > 0.9).long()
    target[:2] = 0
    targets = [target[share], cells_of(target[share] == 1)]
    weights = torch.tensor([1.0, 0.55, 0.7, 0.6, 0.9])[share]
    found = {}
    for name, term in TERMS.items():
        # Samples of their own, so that only the term depends on how they are spread.
        stock = stock_loss(False, "classes", False, False)
        loss = InstanceLoss(stock, term, weight=1.0, regions=False, ignore_label=None, ddp=processes > 1)
        with (weighted := CaseWeightedLoss(loss, processes > 1)).observing(lambda _: weights):
            value = weighted(logits, targets)
        found[f"{name}, weighted"] = torch.autograd.grad(value, logits)[0] / processes
        difference = loss(logits, targets) - stock(logits, targets[0])
        found[name] = torch.autograd.grad(difference, logits)[0] / processes
    return found


def main(rank: int, processes: int, result: Path) -> None:
    """Write what this process has."""
    torch.set_num_threads(1)
    if processes > 1:
        distributed.init_process_group("gloo", f"file://{result}.rendezvous", rank=rank, world_size=processes)
    torch.save(gradients(rank, processes), f"{result}.{processes}.{rank}")
    if processes > 1:
        distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
