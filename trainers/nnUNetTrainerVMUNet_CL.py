"""nnU-Net trainer of VM-UNet with the curriculum; select it with ``-tr nnUNetTrainerVMUNet_CL``."""

from nnunetv2_mamba.training.trainers import nnUNetTrainerVMUNet_CL

__all__ = ["nnUNetTrainerVMUNet_CL"]
