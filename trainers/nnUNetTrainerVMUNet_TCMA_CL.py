"""nnU-Net trainer of S3-Mamba without EnVSS blocks; select it with ``-tr nnUNetTrainerVMUNet_TCMA_CL``."""

from nnunetv2_mamba.trainers.nnUNetTrainerVMUNet_TCMA import nnUNetTrainerVMUNet_TCMA
from nnunetv2_mamba.training.curriculum import CurriculumMixin
from nnunetv2_mamba.training.look_up import same_at_every_look_up


@same_at_every_look_up
class nnUNetTrainerVMUNet_TCMA_CL(CurriculumMixin, nnUNetTrainerVMUNet_TCMA):
    """VM-UNet with TCMA and the regularised curriculum."""
