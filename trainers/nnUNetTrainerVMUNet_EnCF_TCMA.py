"""nnU-Net trainer of S3-Mamba without the curriculum; select it with ``-tr nnUNetTrainerVMUNet_EnCF_TCMA``."""

from typing import ClassVar

from nnunetv2_mamba.training.look_up import same_at_every_look_up
from nnunetv2_mamba.training.trainer import MambaTrainer


@same_at_every_look_up
class nnUNetTrainerVMUNet_EnCF_TCMA(MambaTrainer):
    """S3-Mamba's whole network, without the curriculum."""

    network_name = "S3Mamba"
    network_parts: ClassVar = {"stem": "patch", "tcma": True, "channel_attention": True, "depthwise_conv": False}
