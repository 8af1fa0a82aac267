"""One process of a data-parallel training with curriculum on the CPU, run by test_ddp.py; writes what came of it."""

import sys
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from nnunetv2.training.nnUNetTrainer import nnUNetTrainer as stock_module
from torch import distributed

from nnunetv2_mamba.trainers.nnUNetTrainerVMUNet_CL import nnUNetTrainerVMUNet_CL
from nnunetv2_mamba.training.curriculum import Curriculum
from nnunetv2_mamba.training.curriculum.loss import CaseWeightedLoss
from nnunetv2_mamba.training.curriculum.progress import CURVES
from tests.training.curriculum.conftest import PATCH, RADII, plans
from tests.training.curriculum.test_loss import IGNORE, KINDS, stock_loss

BATCH = 4


class GlooTrainer(nnUNetTrainerVMUNet_CL):
    """Sees the same global batches whatever the number of processes; nothing in its network is random."""

    network_overrides: ClassVar = {"features_per_stage": (8, 16), "d_state": 2, "drop_path_rate": 0.0}

    def get_dataloaders(self):
        scales = self._get_deep_supervision_scales()
        # Validation under DDP goes through nnU-Net's own loss; its samples do not matter here.
        return (self.batches(scales, 0), self.batches(scales, 1000))

    def batches(self, scales, first_seed):
        transforms = self.get_validation_transforms(scales)
        rank, processes = (distributed.get_rank(), distributed.get_world_size()) if self.is_ddp else (0, 1)
        share = slice(rank * BATCH // processes, (rank + 1) * BATCH // processes)
        cases = sorted(set(RADII) - {"validation"})
        seed = first_seed
        while True:
            generator = torch.Generator().manual_seed(seed)
            seed += 1
            keys = [cases[i] for i in torch.randint(len(cases), (BATCH,), generator=generator)]
            images = torch.randn(BATCH, 1, *PATCH, generator=generator)
            lesions = (torch.rand(BATCH, 1, *PATCH, generator=generator) > 0.6).to(torch.int16)
            samples = [transforms(image=i, segmentation=s) for i, s in zip(images, lesions, strict=True)][share]
            targets = [torch.stack(level) for level in zip(*(s["segmentation"] for s in samples), strict=True)]
            yield {"data": torch.stack([s["image"] for s in samples]), "target": targets, "keys": np.array(keys[share])}


def on_the_cpu() -> None:
    """nnU-Net's DDP is for GPUs: its trainer puts everything on one and names it to DDP."""
    stock_module.DDP = partial(lambda network, device_ids: torch.nn.parallel.DistributedDataParallel(network))
    init = stock_module.nnUNetTrainer.__init__

    def on_cpu(self, plans, configuration, fold, dataset_json, device):
        init(self, plans, configuration, fold, dataset_json, device)
        self.device, self.grad_scaler = torch.device("cpu"), None

    stock_module.nnUNetTrainer.__init__ = on_cpu


class InMiniBatch(GlooTrainer):
    curriculum: ClassVar = Curriculum(ranking="mini-batch")


def train(trainer_class: type[GlooTrainer], batch_dice: bool, ddp: bool) -> dict:
    """State after a whole training."""
    plan = plans(batch_dice) | {"continue_training": False}
    plan["configurations"]["2d"]["batch_size"] = BATCH
    dataset_json = {"channel_names": {"0": "noNorm"}, "labels": {"background": 0, "blob": 1}, "file_ending": ".png"}
    torch.manual_seed(0)
    trainer = trainer_class(plan, "2d", 0, dataset_json, torch.device("cpu"))
    trainer.logger.plot_progress_png = lambda _: None
    trainer.run_training()
    return {
        "weights": torch.as_tensor(trainer.case_weights),
        "losses": torch.as_tensor(trainer.measurer.losses),
        "visits": torch.as_tensor(trainer.measurer.visits),
        "network": (trainer.network.module if ddp else trainer.network).state_dict(),
        "log": {name: torch.tensor(trainer.logger.get_value(name, None)) for name in (*CURVES, "train_losses")},
    }


def loss_gradients(rank: int, processes: int) -> dict:
    """Gradients of the weighted loss for batches of five that do not divide evenly, averaged as DDP does."""
    share = slice(rank * 5 // processes, (rank + 1) * 5 // processes)
    weights = torch.tensor([1.0, 0.55, 0.7, 0.6, 0.9])[share]
    gradients = {}
    for kind in KINDS:
        batch_dice, regions, ignore, _ = kind
        stock = stock_loss(batch_dice, regions, ignore, deep_supervision=False)
        stock.dc.ddp = processes > 1
        generator = torch.Generator().manual_seed(0)
        logits = torch.randn(5, 2 if regions == "regions" else 3, 6, 5, generator=generator)[share].requires_grad_()
        if regions == "regions":
            target = torch.rand(5, 2 + ignore, 6, 5, generator=generator)[share] > 0.7
        else:
            target = torch.randint(0, IGNORE + ignore, (5, 1, 6, 5), generator=generator)[share]
        loss = CaseWeightedLoss(stock, processes > 1)
        with loss.observing(lambda _: weights):
            (gradient,) = torch.autograd.grad(loss(logits, target), logits)
        gradients[kind] = gradient / processes
    return gradients


def main(rank: int, processes: int, result: Path) -> None:
    """Train in several ways and write the states."""
    torch.set_num_threads(1)
    if processes > 1:
        distributed.init_process_group("gloo", f"file://{result}.rendezvous", rank=rank, world_size=processes)
        on_the_cpu()
    ways = {"batch dice": (GlooTrainer, True), "sample dice": (GlooTrainer, False), "mini-batch": (InMiniBatch, True)}
    states: dict = {name: train(*way, processes > 1) for name, way in ways.items()}
    states["gradients"] = loss_gradients(rank, processes)
    torch.save(states, f"{result}.{processes}.{rank}")
    if processes > 1:
        distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
