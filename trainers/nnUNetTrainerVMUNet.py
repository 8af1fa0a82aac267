"""nnU-Net trainer of VM-UNet; select it with ``-tr nnUNetTrainerVMUNet``."""

from typing import ClassVar

from nnunetv2_mamba.training.look_up import same_at_every_look_up
from nnunetv2_mamba.training.trainer import MambaTrainer


@same_at_every_look_up
class nnUNetTrainerVMUNet(MambaTrainer):
    """Trains VM-UNet (Ruan and Xiang 2024), with 1x1 heads on the decoder's levels for deep supervision."""

    network_name = "VMUNet"
    network_parts: ClassVar = {"stem": "patch"}
