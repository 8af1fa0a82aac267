"""nnU-Net trainer of VM-UNet with EnVSS blocks; select it with ``-tr nnUNetTrainerVMUNet_EnCF``."""

from typing import ClassVar

from nnunetv2_mamba.training.look_up import same_at_every_look_up
from nnunetv2_mamba.training.trainer import MambaTrainer


@same_at_every_look_up
class nnUNetTrainerVMUNet_EnCF(MambaTrainer):
    """VM-UNet with EnVSS blocks: channel attention in the place of the depthwise convolution."""

    network_name = "S3Mamba"
    network_parts: ClassVar = {
        "stem": "patch",
        "tcma": False,
        "channel_attention": True,
        "depthwise_conv": False,
        "side_heads": True,
    }
