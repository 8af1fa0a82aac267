"""nnU-Net trainer of fine VM-UNet with the curriculum; select it with ``-tr nnUNetTrainerVMUNetFine_CL``."""

from nnunetv2_mamba.trainers.nnUNetTrainerVMUNetFine import nnUNetTrainerVMUNetFine
from nnunetv2_mamba.training.curriculum import CurriculumMixin
from nnunetv2_mamba.training.look_up import same_at_every_look_up


@same_at_every_look_up
class nnUNetTrainerVMUNetFine_CL(CurriculumMixin, nnUNetTrainerVMUNetFine):
    """VM-UNet behind convolutional stages, with the regularised curriculum."""
