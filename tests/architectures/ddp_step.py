"""One rank of a data-parallel training on the CPU, run by test_ddp.py; writes its gradients to a file."""

import sys
from pathlib import Path

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from tests.architectures.small_networks import MEMBERS, small_network


def networks() -> dict[str, nn.Module]:
    """All networks without deep supervision, and with it and a checkpointed stage; equal on all ranks."""
    torch.manual_seed(0)
    return {
        f"{name} {deep_supervision}": small_network(
            name,
            1,
            2,
            (1, 4, 2),
            widths=(16, 32),
            d_state=2,
            deep_supervision=deep_supervision,
            checkpointed_stages=(0,) if deep_supervision else (),
        )
        for name in MEMBERS
        for deep_supervision in (True, False)
    }


def gradients(network: nn.Module, image: torch.Tensor) -> dict[str, torch.Tensor]:
    """Gradients of the second step: it is where DDP complains about parameters that the first left out."""
    torch.manual_seed(1)
    for _ in range(2):
        network.zero_grad()
        outputs = network(image)
        sum(o.square().mean() for o in (outputs if isinstance(outputs, list) else [outputs])).backward()
    bare = network.module if isinstance(network, DistributedDataParallel) else network
    return {name: parameter.grad.clone() for name, parameter in bare.named_parameters()}


def main(rank: int, world_size: int, folder: Path) -> None:
    """Step with an image of this rank's own, alone and together with the others."""
    distributed.init_process_group("gloo", f"file://{folder / 'rendezvous'}", rank=rank, world_size=world_size)
    image = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(rank))
    together = {name: gradients(DistributedDataParallel(network), image) for name, network in networks().items()}
    alone = {name: gradients(network, image) for name, network in networks().items()}
    torch.save({"together": together, "alone": alone}, folder / f"rank_{rank}.pth")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
