"""nnU-Net trainer of VM-UNet with TCMA; select it with ``-tr nnUNetTrainerVMUNet_TCMA``."""

from typing import ClassVar

from nnunetv2_mamba.training.look_up import same_at_every_look_up
from nnunetv2_mamba.training.trainer import MambaTrainer


@same_at_every_look_up
class nnUNetTrainerVMUNet_TCMA(MambaTrainer):
    """VM-UNet with TCMA, whose masks are the side outputs of deep supervision."""

    network_name = "S3Mamba"
    network_parts: ClassVar = {"stem": "patch", "tcma": True, "channel_attention": False, "depthwise_conv": True}
