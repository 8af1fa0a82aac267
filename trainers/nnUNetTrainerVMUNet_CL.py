"""nnU-Net trainer of VM-UNet with the curriculum; select it with ``-tr nnUNetTrainerVMUNet_CL``."""

from nnunetv2_mamba.trainers.nnUNetTrainerVMUNet import nnUNetTrainerVMUNet
from nnunetv2_mamba.training.curriculum import CurriculumMixin
from nnunetv2_mamba.training.look_up import same_at_every_look_up


@same_at_every_look_up
class nnUNetTrainerVMUNet_CL(CurriculumMixin, nnUNetTrainerVMUNet):
    """VM-UNet with the regularised curriculum."""
