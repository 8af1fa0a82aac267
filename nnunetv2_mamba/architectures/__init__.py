"""Whole networks, 2-D and 3-D from one class through ``conv_op``; this package does not know nnU-Net.

A network is public, and registered, once its class is imported here.
"""

from nnunetv2_mamba.architectures.s3mamba import S3Mamba as S3Mamba
from nnunetv2_mamba.architectures.saumamba import SAUMamba as SAUMamba
from nnunetv2_mamba.architectures.segmamba import SegMamba as SegMamba
from nnunetv2_mamba.architectures.vmunet import VMUNet as VMUNet
