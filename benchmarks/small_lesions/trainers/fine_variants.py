"""Trainers of the benchmark: fine S3-Mamba with one of its parts on or off."""

from typing import ClassVar

from nnunetv2_mamba.trainers.nnUNetTrainerS3MambaFine import nnUNetTrainerS3MambaFine


class nnUNetTrainerS3MambaFine_Local(nnUNetTrainerS3MambaFine):
    """With VM-UNet's 3x3 depthwise convolution in front of each scan, which S3-Mamba takes out."""

    network_parts: ClassVar = {**nnUNetTrainerS3MambaFine.network_parts, "depthwise_conv": True}


class nnUNetTrainerS3MambaFine_NoTCMA(nnUNetTrainerS3MambaFine):
    """Without TCMA."""

    network_parts: ClassVar = {**nnUNetTrainerS3MambaFine.network_parts, "tcma": False, "side_heads": True}


class nnUNetTrainerS3MambaFine_NoEnCF(nnUNetTrainerS3MambaFine):
    """Without channel attention."""

    network_parts: ClassVar = {**nnUNetTrainerS3MambaFine.network_parts, "channel_attention": False}


class nnUNetTrainerS3MambaFine_Shallow(nnUNetTrainerS3MambaFine):
    """One block in each scan stage instead of two; two convolutions in the convolutional stages as ever."""

    network_overrides: ClassVar = {"n_blocks_per_stage": [2, 2, 1, 1, 1, 1]}
