"""A control: S3-Mamba with convolutions for scans; select it with ``-tr nnUNetTrainerS3Mamba_Conv``."""

from typing import ClassVar

from nnunetv2_mamba.trainers.nnUNetTrainerS3Mamba import nnUNetTrainerS3Mamba
from nnunetv2_mamba.training.look_up import same_at_every_look_up


@same_at_every_look_up
class nnUNetTrainerS3Mamba_Conv(nnUNetTrainerS3Mamba):
    """S3-Mamba with depthwise convolutions in the place of its scans (``mixer="convolution"``)."""

    network_parts: ClassVar = {**nnUNetTrainerS3Mamba.network_parts, "mixer": "convolution"}
