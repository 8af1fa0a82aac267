"""nnU-Net trainer of VM-UNet with EnVSS blocks and the curriculum; select it with ``-tr nnUNetTrainerVMUNet_EnCF_CL``."""

from nnunetv2_mamba.training.trainers import nnUNetTrainerVMUNet_EnCF_CL

__all__ = ["nnUNetTrainerVMUNet_EnCF_CL"]
