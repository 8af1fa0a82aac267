"""The networks by name."""

from torch import nn

from nnunetv2_mamba.architectures.s3mamba import S3Mamba
from nnunetv2_mamba.architectures.saumamba import SAUMamba
from nnunetv2_mamba.architectures.segmamba import SegMamba
from nnunetv2_mamba.architectures.vmunet import VMUNet

NETWORKS: dict[str, type[nn.Module]] = {network.__name__: network for network in (VMUNet, S3Mamba, SAUMamba, SegMamba)}
