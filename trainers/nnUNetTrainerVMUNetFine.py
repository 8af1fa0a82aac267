"""nnU-Net trainer of fine VM-UNet; select it with ``-tr nnUNetTrainerVMUNetFine``."""

from typing import ClassVar

from nnunetv2_mamba.training.look_up import same_at_every_look_up
from nnunetv2_mamba.training.trainer import MambaTrainer


@same_at_every_look_up
class nnUNetTrainerVMUNetFine(MambaTrainer):
    """VM-UNet behind the plan's own convolutional stages, which keep every voxel (`VSSUNet`, ``stem="conv"``)."""

    network_name = "VMUNet"
    network_parts: ClassVar = {"stem": "conv"}
