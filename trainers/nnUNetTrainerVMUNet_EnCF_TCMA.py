"""nnU-Net trainer of S3-Mamba without the curriculum; select it with ``-tr nnUNetTrainerVMUNet_EnCF_TCMA``."""

from nnunetv2_mamba.training.trainers import nnUNetTrainerVMUNet_EnCF_TCMA

__all__ = ["nnUNetTrainerVMUNet_EnCF_TCMA"]
