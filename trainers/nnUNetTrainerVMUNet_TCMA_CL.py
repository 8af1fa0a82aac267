"""nnU-Net trainer of VM-UNet with TCMA and the curriculum; select it with ``-tr nnUNetTrainerVMUNet_TCMA_CL``."""

from nnunetv2_mamba.training.trainers import nnUNetTrainerVMUNet_TCMA_CL

__all__ = ["nnUNetTrainerVMUNet_TCMA_CL"]
