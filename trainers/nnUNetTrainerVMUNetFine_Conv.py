"""A control: fine VM-UNet with convolutions for scans; select it with ``-tr nnUNetTrainerVMUNetFine_Conv``."""

from typing import ClassVar

from nnunetv2_mamba.trainers.nnUNetTrainerVMUNetFine import nnUNetTrainerVMUNetFine
from nnunetv2_mamba.training.look_up import same_at_every_look_up


@same_at_every_look_up
class nnUNetTrainerVMUNetFine_Conv(nnUNetTrainerVMUNetFine):
    """Fine VM-UNet with depthwise convolutions in the place of its scans (``mixer="convolution"``)."""

    network_parts: ClassVar = {**nnUNetTrainerVMUNetFine.network_parts, "mixer": "convolution"}
