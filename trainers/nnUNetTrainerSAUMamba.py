"""nnU-Net trainer of SA-UMamba; select it with ``-tr nnUNetTrainerSAUMamba``."""

from typing import ClassVar

from nnunetv2_mamba.training.look_up import same_at_every_look_up
from nnunetv2_mamba.training.trainer import MambaTrainer


@same_at_every_look_up
class nnUNetTrainerSAUMamba(MambaTrainer):
    """Trains SA-UMamba (Liu et al. 2025), with 1x1 heads on the decoder's levels for deep supervision."""

    network_name = "SAUMamba"
    network_parts: ClassVar = {"stem": "patch"}
