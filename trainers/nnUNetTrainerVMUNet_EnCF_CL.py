"""nnU-Net trainer of S3-Mamba without TCMA; select it with ``-tr nnUNetTrainerVMUNet_EnCF_CL``."""

from nnunetv2_mamba.trainers.nnUNetTrainerVMUNet_EnCF import nnUNetTrainerVMUNet_EnCF
from nnunetv2_mamba.training.curriculum import CurriculumMixin
from nnunetv2_mamba.training.look_up import same_at_every_look_up


@same_at_every_look_up
class nnUNetTrainerVMUNet_EnCF_CL(CurriculumMixin, nnUNetTrainerVMUNet_EnCF):
    """VM-UNet with EnVSS blocks and the regularised curriculum."""
