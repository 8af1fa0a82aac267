"""nnU-Net trainer of S3-Mamba; select it with ``-tr nnUNetTrainerS3Mamba``."""

from nnunetv2_mamba.training.trainers import nnUNetTrainerS3Mamba

__all__ = ["nnUNetTrainerS3Mamba"]
