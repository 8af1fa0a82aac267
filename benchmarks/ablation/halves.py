"""The two things that the paper's EnCF row does at once, each on its own: trainers for the benchmark alone."""

from typing import ClassVar

from nnunetv2_mamba.training.trainer import MambaTrainer


class nnUNetTrainerVMUNet_Attention(MambaTrainer):
    """VM-UNet with channel attention in its blocks, which keep their depthwise convolution."""

    network_name = "S3Mamba"
    network_parts: ClassVar = {"tcma": False, "channel_attention": True, "depthwise_conv": True, "side_heads": True}


class nnUNetTrainerVMUNet_NoConvolution(MambaTrainer):
    """VM-UNet without the depthwise convolution in its blocks, and with nothing in its place."""

    network_name = "S3Mamba"
    network_parts: ClassVar = {"tcma": False, "channel_attention": False, "depthwise_conv": False, "side_heads": True}
