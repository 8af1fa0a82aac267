"""Batches as nnU-Net's data loaders yield them."""

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer


def batch_for(trainer: nnUNetTrainer, seed: int = 0) -> dict:
    """Two cases with random one-channel images and one pattern of labels."""
    generator = torch.Generator().manual_seed(seed)
    transforms = trainer.get_validation_transforms(trainer._get_deep_supervision_scales())
    patch_size = tuple(trainer.configuration_manager.patch_size)
    segmentation = (torch.arange(patch_size[0] * patch_size[1]).reshape(1, *patch_size) % 3 == 0).to(torch.int16)
    samples = [
        transforms(image=torch.rand(1, *patch_size, generator=generator), segmentation=segmentation) for _ in range(2)
    ]
    targets = [sample["segmentation"] for sample in samples]
    stacked = (
        [torch.stack(t) for t in zip(*targets, strict=True)] if isinstance(targets[0], list) else torch.stack(targets)
    )
    return {"data": torch.stack([s["image"] for s in samples]), "target": stacked, "keys": ["case_a", "case_b"]}
