"""nnU-Net trainer of VM-UNet with EnVSS blocks; select it with ``-tr nnUNetTrainerVMUNet_EnCF``."""

from nnunetv2_mamba.training.trainers import nnUNetTrainerVMUNet_EnCF

__all__ = ["nnUNetTrainerVMUNet_EnCF"]
