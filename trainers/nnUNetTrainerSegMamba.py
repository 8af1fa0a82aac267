"""nnU-Net trainer of SegMamba; select it with ``-tr nnUNetTrainerSegMamba``."""

from nnunetv2_mamba.training.trainers import nnUNetTrainerSegMamba

__all__ = ["nnUNetTrainerSegMamba"]
