"""nnU-Net trainer of SegMamba; select it with ``-tr nnUNetTrainerSegMamba``."""

from nnunetv2_mamba.training.look_up import same_at_every_look_up
from nnunetv2_mamba.training.trainer import MambaTrainer


@same_at_every_look_up
class nnUNetTrainerSegMamba(MambaTrainer):
    """Trains SegMamba of Taming Mambas (Lumetti et al. 2024) at its published learning rate."""

    network_name = "SegMamba"
    initial_lr = 3e-4
