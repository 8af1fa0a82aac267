"""A control: VM-UNet without its scans; select it with ``-tr nnUNetTrainerVMUNet_Identity``."""

from typing import ClassVar

from nnunetv2_mamba.trainers.nnUNetTrainerVMUNet import nnUNetTrainerVMUNet
from nnunetv2_mamba.training.look_up import same_at_every_look_up


@same_at_every_look_up
class nnUNetTrainerVMUNet_Identity(nnUNetTrainerVMUNet):
    """VM-UNet without its scans (``mixer="identity"``)."""

    network_parts: ClassVar = {**nnUNetTrainerVMUNet.network_parts, "mixer": "identity"}
