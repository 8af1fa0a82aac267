"""A control: SA-UMamba with convolutions for scans; select it with ``-tr nnUNetTrainerSAUMamba_Conv``."""

from typing import ClassVar

from nnunetv2_mamba.trainers.nnUNetTrainerSAUMamba import nnUNetTrainerSAUMamba
from nnunetv2_mamba.training.look_up import same_at_every_look_up


@same_at_every_look_up
class nnUNetTrainerSAUMamba_Conv(nnUNetTrainerSAUMamba):
    """SA-UMamba with depthwise convolutions in the place of its scans (``mixer="convolution"``)."""

    network_parts: ClassVar = {**nnUNetTrainerSAUMamba.network_parts, "mixer": "convolution"}
