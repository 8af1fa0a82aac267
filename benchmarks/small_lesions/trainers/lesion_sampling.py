"""Trainers of the benchmark: patches by lesions, for nnU-Net's U-Net and for fine S3-Mamba."""

from typing import ClassVar

from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunetv2_mamba.trainers.nnUNetTrainerS3MambaFine import nnUNetTrainerS3MambaFine
from nnunetv2_mamba.training.sampling import LesionSamplingMixin


class nnUNetTrainer_Lesions(LesionSamplingMixin, nnUNetTrainer):
    """Each lesion as often, anywhere in the patch."""


class nnUNetTrainer_SmallLesions(LesionSamplingMixin, nnUNetTrainer):
    """Small lesions more often, in proportion to one over the square root of their size."""

    lesion_size_exponent: ClassVar = 0.5


class nnUNetTrainerS3MambaFine_Lesions(LesionSamplingMixin, nnUNetTrainerS3MambaFine):
    """Each lesion as often, anywhere in the patch."""


class nnUNetTrainerS3MambaFine_SmallLesions(LesionSamplingMixin, nnUNetTrainerS3MambaFine):
    """Small lesions more often, in proportion to one over the square root of their size."""

    lesion_size_exponent: ClassVar = 0.5
