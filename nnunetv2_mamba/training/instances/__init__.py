"""Losses in which each lesion counts as much as any other, for any nnU-Net trainer: put `InstanceLossMixin` in front.

`cells` finds the lesions of a patch and which of them each voxel is nearest to; `terms` are the published losses of
lesions; `InstanceLoss` adds one of them to a trainer's own loss.
"""

from nnunetv2_mamba.training.instances.mixin import InstanceLossMixin
from nnunetv2_mamba.training.instances.terms import BiCC, BlobLoss, ComponentTversky

__all__ = ["BiCC", "BlobLoss", "ComponentTversky", "InstanceLossMixin"]
