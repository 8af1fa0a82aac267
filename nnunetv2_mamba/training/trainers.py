"""The trainers that ``-tr`` names; each is re-exported by a file of its own name in ``trainers/``.

They are defined here and not there because nnU-Net imports those files anew at every look-up: a class defined there
would be another one each time and could not be pickled.
"""

from nnunetv2_mamba.training.trainer import MambaTrainer


class nnUNetTrainerVMUNet(MambaTrainer):
    """Trains VM-UNet (Ruan and Xiang 2024), with 1x1 heads on the decoder's levels for deep supervision."""

    network_name = "VMUNet"


class nnUNetTrainerS3Mamba(MambaTrainer):
    """Trains S3-Mamba (Wang et al. 2025); the masks that TCMA modulates are the side outputs of deep supervision."""

    network_name = "S3Mamba"
