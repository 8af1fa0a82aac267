"""nnU-Net trainer of S3-Mamba without EnVSS blocks; select it with ``-tr nnUNetTrainerVMUNet_TCMA_CL``."""

from nnunetv2_mamba.training.trainers import nnUNetTrainerVMUNet_TCMA_CL

__all__ = ["nnUNetTrainerVMUNet_TCMA_CL"]
