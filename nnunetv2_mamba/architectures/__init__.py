"""Whole networks, 2-D and 3-D from one class through ``conv_op``; this package does not know nnU-Net."""

from nnunetv2_mamba.architectures.s3mamba import S3Mamba
from nnunetv2_mamba.architectures.saumamba import SAUMamba
from nnunetv2_mamba.architectures.segmamba import SegMamba
from nnunetv2_mamba.architectures.vmunet import VMUNet

__all__ = ["S3Mamba", "SAUMamba", "SegMamba", "VMUNet"]
