"""nnU-Net trainer of fine S3-Mamba with the curriculum; select it with ``-tr nnUNetTrainerS3MambaFine_CL``."""

from nnunetv2_mamba.trainers.nnUNetTrainerS3MambaFine import nnUNetTrainerS3MambaFine
from nnunetv2_mamba.training.curriculum import CurriculumMixin
from nnunetv2_mamba.training.look_up import same_at_every_look_up


@same_at_every_look_up
class nnUNetTrainerS3MambaFine_CL(CurriculumMixin, nnUNetTrainerS3MambaFine):
    """S3-Mamba behind convolutional stages, with the regularised curriculum."""
