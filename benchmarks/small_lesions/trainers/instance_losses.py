"""Trainers of the benchmark: losses of lesions beside the stock loss, for nnU-Net's U-Net and for fine S3-Mamba."""

from typing import ClassVar

from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunetv2_mamba.trainers.nnUNetTrainerS3MambaFine import nnUNetTrainerS3MambaFine
from nnunetv2_mamba.training.instances import BiCC, BlobLoss, ComponentTversky, InstanceLossMixin


class nnUNetTrainer_CC(InstanceLossMixin, nnUNetTrainer):
    """CC-DiceCE: cells of the reference only."""

    instance_term: ClassVar = BiCC(alpha=0)


class nnUNetTrainer_BiCC(InstanceLossMixin, nnUNetTrainer):
    """BiCC with a quarter for the cells of the prediction."""

    instance_term: ClassVar = BiCC(alpha=0.25)


class nnUNetTrainer_BiCC75(InstanceLossMixin, nnUNetTrainer):
    """BiCC with three quarters for the cells of the prediction."""

    instance_term: ClassVar = BiCC(alpha=0.75)


class nnUNetTrainer_Blob(InstanceLossMixin, nnUNetTrainer):
    """Blob loss with half the weight of the stock loss, as published."""

    instance_term: ClassVar = BlobLoss()
    instance_weight = 0.5


class nnUNetTrainer_CAT(InstanceLossMixin, nnUNetTrainer):
    """Component-adaptive Tversky with the published weight."""

    instance_term: ClassVar = ComponentTversky()
    instance_weight = 0.3


class nnUNetTrainerS3MambaFine_CC(InstanceLossMixin, nnUNetTrainerS3MambaFine):
    """CC-DiceCE: cells of the reference only."""

    instance_term: ClassVar = BiCC(alpha=0)


class nnUNetTrainerS3MambaFine_BiCC(InstanceLossMixin, nnUNetTrainerS3MambaFine):
    """BiCC with a quarter for the cells of the prediction."""

    instance_term: ClassVar = BiCC(alpha=0.25)


class nnUNetTrainerS3MambaFine_BiCC75(InstanceLossMixin, nnUNetTrainerS3MambaFine):
    """BiCC with three quarters for the cells of the prediction."""

    instance_term: ClassVar = BiCC(alpha=0.75)


class nnUNetTrainerS3MambaFine_Blob(InstanceLossMixin, nnUNetTrainerS3MambaFine):
    """Blob loss with half the weight of the stock loss, as published."""

    instance_term: ClassVar = BlobLoss()
    instance_weight = 0.5


class nnUNetTrainerS3MambaFine_CAT(InstanceLossMixin, nnUNetTrainerS3MambaFine):
    """Component-adaptive Tversky with the published weight."""

    instance_term: ClassVar = ComponentTversky()
    instance_weight = 0.3
