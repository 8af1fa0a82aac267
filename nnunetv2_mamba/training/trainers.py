"""The trainers that ``-tr`` names; each is re-exported by a file of its own name in ``trainers/``.

They are defined here and not there because nnU-Net imports those files anew at every look-up: a class defined there
would be another one each time and could not be pickled.

S3-Mamba is VM-UNet with three additions, and the eight rows of the paper's ablation are named by those they have: EnCF,
TCMA and CL, in this order, behind ``nnUNetTrainerVMUNet_``; without any it is ``nnUNetTrainerVMUNet``, with all three
``nnUNetTrainerS3Mamba``.
"""

from typing import ClassVar

from nnunetv2_mamba.training.curriculum import CurriculumMixin
from nnunetv2_mamba.training.robust_trainer import RobustTrainer
from nnunetv2_mamba.training.trainer import MambaTrainer


class nnUNetTrainerVMUNet(MambaTrainer):
    """Trains VM-UNet (Ruan and Xiang 2024), with 1x1 heads on the decoder's levels for deep supervision."""

    network_name = "VMUNet"


class nnUNetTrainerVMUNet_EnCF(MambaTrainer):
    """VM-UNet with EnVSS blocks: channel attention in the place of the depthwise convolution."""

    network_name = "S3Mamba"
    network_parts: ClassVar = {"tcma": False, "channel_attention": True, "depthwise_conv": False, "side_heads": True}


class nnUNetTrainerVMUNet_TCMA(MambaTrainer):
    """VM-UNet with TCMA, whose masks are the side outputs of deep supervision."""

    network_name = "S3Mamba"
    network_parts: ClassVar = {"tcma": True, "channel_attention": False, "depthwise_conv": True}


class nnUNetTrainerVMUNet_CL(CurriculumMixin, nnUNetTrainerVMUNet):
    """VM-UNet with the regularised curriculum."""


class nnUNetTrainerVMUNet_EnCF_TCMA(MambaTrainer):
    """S3-Mamba's whole network, without the curriculum."""

    network_name = "S3Mamba"
    network_parts: ClassVar = {"tcma": True, "channel_attention": True, "depthwise_conv": False}


class nnUNetTrainerVMUNet_EnCF_CL(CurriculumMixin, nnUNetTrainerVMUNet_EnCF):
    """VM-UNet with EnVSS blocks and the regularised curriculum."""


class nnUNetTrainerVMUNet_TCMA_CL(CurriculumMixin, nnUNetTrainerVMUNet_TCMA):
    """VM-UNet with TCMA and the regularised curriculum."""


class nnUNetTrainerS3Mamba(CurriculumMixin, nnUNetTrainerVMUNet_EnCF_TCMA):
    """Trains S3-Mamba (Wang et al. 2025): EnVSS blocks, TCMA and the regularised curriculum."""


class nnUNetTrainerSAUMamba(MambaTrainer):
    """Trains SA-UMamba (Liu et al. 2025), with 1x1 heads on the decoder's levels for deep supervision."""

    network_name = "SAUMamba"


class nnUNetTrainerSegMamba(MambaTrainer):
    """Trains SegMamba of Taming Mambas (Lumetti et al. 2024) at its published learning rate."""

    network_name = "SegMamba"
    initial_lr = 3e-4


class nnUNetTrainerCurriculum(CurriculumMixin, RobustTrainer):
    """nnU-Net's own training of the network that the plans name, plain or residual, with the regularised curriculum."""
