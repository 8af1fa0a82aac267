"""nnU-Net trainer of SA-UMamba; select it with ``-tr nnUNetTrainerSAUMamba``."""

from nnunetv2_mamba.training.trainers import nnUNetTrainerSAUMamba

__all__ = ["nnUNetTrainerSAUMamba"]
