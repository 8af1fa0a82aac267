"""nnU-Net trainer of the plans' own network with the curriculum; select it with ``-tr nnUNetTrainerCurriculum``."""

from nnunetv2_mamba.training.trainers import nnUNetTrainerCurriculum

__all__ = ["nnUNetTrainerCurriculum"]
