"""nnU-Net trainer of S3-Mamba; select it with ``-tr nnUNetTrainerS3Mamba``."""

from nnunetv2_mamba.trainers.nnUNetTrainerVMUNet_EnCF_TCMA import nnUNetTrainerVMUNet_EnCF_TCMA
from nnunetv2_mamba.training.curriculum import CurriculumMixin
from nnunetv2_mamba.training.look_up import same_at_every_look_up


@same_at_every_look_up
class nnUNetTrainerS3Mamba(CurriculumMixin, nnUNetTrainerVMUNet_EnCF_TCMA):
    """Trains S3-Mamba (Wang et al. 2025): EnVSS blocks, TCMA and the regularised curriculum."""
