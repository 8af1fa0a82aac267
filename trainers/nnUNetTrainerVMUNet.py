"""nnU-Net trainer of VM-UNet; select it with ``-tr nnUNetTrainerVMUNet``."""

from nnunetv2_mamba.training.trainers import nnUNetTrainerVMUNet

__all__ = ["nnUNetTrainerVMUNet"]
