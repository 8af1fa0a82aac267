"""A control: fine S3-Mamba with convolutions for scans; select it with ``-tr nnUNetTrainerS3MambaFine_Conv``."""

from typing import ClassVar

from nnunetv2_mamba.trainers.nnUNetTrainerS3MambaFine import nnUNetTrainerS3MambaFine
from nnunetv2_mamba.training.look_up import same_at_every_look_up


@same_at_every_look_up
class nnUNetTrainerS3MambaFine_Conv(nnUNetTrainerS3MambaFine):
    """Fine S3-Mamba with depthwise convolutions in the place of its scans (``mixer="convolution"``)."""

    network_parts: ClassVar = {**nnUNetTrainerS3MambaFine.network_parts, "mixer": "convolution"}
