"""A control: VM-UNet with convolutions for scans; select it with ``-tr nnUNetTrainerVMUNet_Conv``."""

from typing import ClassVar

from nnunetv2_mamba.trainers.nnUNetTrainerVMUNet import nnUNetTrainerVMUNet
from nnunetv2_mamba.training.look_up import same_at_every_look_up


@same_at_every_look_up
class nnUNetTrainerVMUNet_Conv(nnUNetTrainerVMUNet):
    """VM-UNet with depthwise convolutions in the place of its scans (``mixer="convolution"``)."""

    network_parts: ClassVar = {**nnUNetTrainerVMUNet.network_parts, "mixer": "convolution"}
