"""nnU-Net trainer of the plans' own network with the curriculum; select it with ``-tr nnUNetTrainerCurriculum``."""

from nnunetv2_mamba.training.curriculum import CurriculumMixin
from nnunetv2_mamba.training.look_up import same_at_every_look_up
from nnunetv2_mamba.training.robust_trainer import RobustTrainer


@same_at_every_look_up
class nnUNetTrainerCurriculum(CurriculumMixin, RobustTrainer):
    """nnU-Net's own training of the network that the plans name, plain or residual, with the regularised curriculum."""
