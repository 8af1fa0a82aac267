"""nnU-Net trainer of S3-Mamba without TCMA; select it with ``-tr nnUNetTrainerVMUNet_EnCF_CL``."""

from nnunetv2_mamba.training.trainers import nnUNetTrainerVMUNet_EnCF_CL

__all__ = ["nnUNetTrainerVMUNet_EnCF_CL"]
