"""nnU-Net trainer of VM-UNet with TCMA; select it with ``-tr nnUNetTrainerVMUNet_TCMA``."""

from nnunetv2_mamba.training.trainers import nnUNetTrainerVMUNet_TCMA

__all__ = ["nnUNetTrainerVMUNet_TCMA"]
