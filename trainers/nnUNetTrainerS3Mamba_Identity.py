"""A control: S3-Mamba without its scans; select it with ``-tr nnUNetTrainerS3Mamba_Identity``."""

from typing import ClassVar

from nnunetv2_mamba.trainers.nnUNetTrainerS3Mamba import nnUNetTrainerS3Mamba
from nnunetv2_mamba.training.look_up import same_at_every_look_up


@same_at_every_look_up
class nnUNetTrainerS3Mamba_Identity(nnUNetTrainerS3Mamba):
    """S3-Mamba without its scans (``mixer="identity"``)."""

    network_parts: ClassVar = {**nnUNetTrainerS3Mamba.network_parts, "mixer": "identity"}
