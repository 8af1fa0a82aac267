"""nnU-Net trainer of fine S3-Mamba, without the curriculum; select it with ``-tr nnUNetTrainerS3MambaFine``."""

from typing import ClassVar

from nnunetv2_mamba.training.look_up import same_at_every_look_up
from nnunetv2_mamba.training.trainer import MambaTrainer


@same_at_every_look_up
class nnUNetTrainerS3MambaFine(MambaTrainer):
    """S3-Mamba behind the plan's own convolutional stages, which keep every voxel (`VSSUNet`, ``stem="conv"``)."""

    network_name = "S3Mamba"
    network_parts: ClassVar = {"stem": "conv", "tcma": True, "channel_attention": True, "depthwise_conv": False}
