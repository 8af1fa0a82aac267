"""The parts of this package's nnU-Net trainers, which your own trainers can use too.

The names below are imported when they are used: importing this package loads neither torch nor nnU-Net.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nnunetv2_mamba.training.curriculum import Curriculum, CurriculumMixin
    from nnunetv2_mamba.training.instances import BiCC, BlobLoss, ComponentTversky, InstanceLossMixin
    from nnunetv2_mamba.training.records.cost import CostMixin
    from nnunetv2_mamba.training.records.lesion_checkpoint import LesionCheckpointMixin
    from nnunetv2_mamba.training.records.lesion_report import LesionReportMixin
    from nnunetv2_mamba.training.robust_trainer import RobustTrainer
    from nnunetv2_mamba.training.safety.safe_checkpoint import SafeCheckpointMixin
    from nnunetv2_mamba.training.sampling import LesionSamplingMixin
    from nnunetv2_mamba.training.trainer import MambaTrainer

_MODULES = {
    "BiCC": "instances",
    "BlobLoss": "instances",
    "ComponentTversky": "instances",
    "CostMixin": "records.cost",
    "Curriculum": "curriculum",
    "CurriculumMixin": "curriculum",
    "InstanceLossMixin": "instances",
    "LesionCheckpointMixin": "records.lesion_checkpoint",
    "LesionReportMixin": "records.lesion_report",
    "LesionSamplingMixin": "sampling",
    "MambaTrainer": "trainer",
    "RobustTrainer": "robust_trainer",
    "SafeCheckpointMixin": "safety.safe_checkpoint",
}

__all__ = [
    "BiCC",
    "BlobLoss",
    "ComponentTversky",
    "CostMixin",
    "Curriculum",
    "CurriculumMixin",
    "InstanceLossMixin",
    "LesionCheckpointMixin",
    "LesionReportMixin",
    "LesionSamplingMixin",
    "MambaTrainer",
    "RobustTrainer",
    "SafeCheckpointMixin",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
