"""A control: fine S3-Mamba without its scans; select it with ``-tr nnUNetTrainerS3MambaFine_Identity``."""

from typing import ClassVar

from nnunetv2_mamba.trainers.nnUNetTrainerS3MambaFine import nnUNetTrainerS3MambaFine
from nnunetv2_mamba.training.look_up import same_at_every_look_up


@same_at_every_look_up
class nnUNetTrainerS3MambaFine_Identity(nnUNetTrainerS3MambaFine):
    """Fine S3-Mamba without its scans (``mixer="identity"``)."""

    network_parts: ClassVar = {**nnUNetTrainerS3MambaFine.network_parts, "mixer": "identity"}
