"""A control: SA-UMamba without its scans; select it with ``-tr nnUNetTrainerSAUMamba_Identity``."""

from typing import ClassVar

from nnunetv2_mamba.trainers.nnUNetTrainerSAUMamba import nnUNetTrainerSAUMamba
from nnunetv2_mamba.training.look_up import same_at_every_look_up


@same_at_every_look_up
class nnUNetTrainerSAUMamba_Identity(nnUNetTrainerSAUMamba):
    """SA-UMamba without its scans (``mixer="identity"``)."""

    network_parts: ClassVar = {**nnUNetTrainerSAUMamba.network_parts, "mixer": "identity"}
