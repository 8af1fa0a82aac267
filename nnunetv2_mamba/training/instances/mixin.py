"""A loss of lesions as one more base class of any nnU-Net trainer."""

from typing import Any, ClassVar

from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import nn

from nnunetv2_mamba.training.curriculum.loss import CaseWeightedLoss
from nnunetv2_mamba.training.instances.cells import AppendCells
from nnunetv2_mamba.training.instances.loss import InstanceLoss
from nnunetv2_mamba.training.instances.terms import BiCC, InstanceTerm


class InstanceLossMixin(nnUNetTrainer):
    """Adds a loss of lesions to a trainer's own loss: ``class T(InstanceLossMixin, SomeTrainer)``.

    It works with every network and every loss, with classes, regions and an ignore label, in 2-D and 3-D. The workers
    that load the data find the lesions after the augmentation.

    Attributes:
        instance_term: the loss of lesions: `BiCC`, `BlobLoss` or `ComponentTversky`.
        instance_weight: its weight beside the trainer's own loss.
    """

    instance_term: ClassVar[InstanceTerm] = BiCC()
    instance_weight: ClassVar[float] = 1.0

    @classmethod
    def get_training_transforms(cls, *arguments: Any, **options: Any) -> BasicTransform:
        """The trainer's own transforms, and then `AppendCells`; arguments as nnU-Net gives them."""
        transforms = super().get_training_transforms(*arguments, **options)
        labels = None if options.get("regions") is not None else options["foreground_labels"]
        return ComposeTransforms(
            [transforms, AppendCells(labels, ignore_label=options.get("ignore_label") is not None)]
        )

    def _build_loss(self) -> nn.Module:
        stock = super()._build_loss()
        if isinstance(stock, CaseWeightedLoss):
            raise TypeError(
                f"in the bases of {type(self).__name__}, put CurriculumMixin in front of InstanceLossMixin."
            )
        return InstanceLoss(
            stock,
            self.instance_term,
            weight=self.instance_weight,
            regions=self.label_manager.has_regions,
            ignore_label=self.label_manager.ignore_label,
            ddp=self.is_ddp,
        )
