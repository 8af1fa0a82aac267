"""A control: fine VM-UNet without its scans; select it with ``-tr nnUNetTrainerVMUNetFine_Identity``."""

from typing import ClassVar

from nnunetv2_mamba.trainers.nnUNetTrainerVMUNetFine import nnUNetTrainerVMUNetFine
from nnunetv2_mamba.training.look_up import same_at_every_look_up


@same_at_every_look_up
class nnUNetTrainerVMUNetFine_Identity(nnUNetTrainerVMUNetFine):
    """Fine VM-UNet without its scans (``mixer="identity"``)."""

    network_parts: ClassVar = {**nnUNetTrainerVMUNetFine.network_parts, "mixer": "identity"}
