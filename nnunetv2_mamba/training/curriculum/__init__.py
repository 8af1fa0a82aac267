"""S3-Mamba's regularised curriculum, for any nnU-Net trainer: put `CurriculumMixin` in front of its base classes.

A `DifficultyMeasurer` ranks the training cases, first by the size of their lesions and then by their losses; a
`TrainingScheduler` turns ranks into weights that move from easy to hard; `CaseWeightedLoss` is nnU-Net's loss with
these weights. Source: S3-Mamba, arXiv 2412.14546, eqs. 6 and 7. They do not define an algorithm; docs/s3-mamba.md lists
the choices of this package.
"""

from nnunetv2_mamba.training.curriculum.mixin import CurriculumMixin
from nnunetv2_mamba.training.curriculum.scheduler import Curriculum

__all__ = ["Curriculum", "CurriculumMixin"]
