"""Training patches by lesions instead of by voxels, for any nnU-Net trainer: put `LesionSamplingMixin` in front."""

from nnunetv2_mamba.training.sampling.mixin import LesionSamplingMixin

__all__ = ["LesionSamplingMixin"]
