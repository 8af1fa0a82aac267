"""The stock trainer with one of our networks, AdamW and a cosine schedule; everything else stays nnU-Net's."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import nn
from torch.optim import AdamW

from nnunetv2_mamba.plans.architecture import deep_supervision_scales, mamba_architecture
from nnunetv2_mamba.training.checkpoint import require_checkpoint
from nnunetv2_mamba.training.finite import require_finite
from nnunetv2_mamba.training.optimizer import clipped_adamw, parameter_groups
from nnunetv2_mamba.training.quick_run import QuickRun
from nnunetv2_mamba.training.schedule import WarmupCosineSchedule

CUDA = torch.device("cuda")


class MambaTrainer(nnUNetTrainer):
    """Base of our trainers: a subclass names the network, and may change any other class attribute.

    A plan of nnU-Net's own planners is turned into our network on the fly. A plan that already names this network is
    used as it is: what it says wins, `network_overrides` has no effect. One that names another of ours is refused, in
    training and prediction alike.

    Attributes:
        network_name: class in `nnunetv2_mamba.architectures`.
        network_overrides: further arguments of the network, or others than those derived from the plan.
        initial_lr: highest learning rate, for training from scratch. The papers' 1e-4 assumes ImageNet weights.
        weight_decay: AdamW's decoupled decay (VM-UNet's code: 1e-2).
        decay_everything: whether norms, biases and the scans' own parameters decay too, as in VM-UNet's code.
        max_warmup_epochs: longest linear warm-up, at most a tenth of the training.
        max_grad_norm: gradients are clipped to this L2 norm (that of VMamba's training, from Swin). nnU-Net clips at 12
            before that, so larger values have no effect.
    """

    network_name: ClassVar[str]
    network_overrides: ClassVar[Mapping[str, Any]] = {}
    initial_lr: float = 1e-3
    weight_decay: float = 1e-2
    decay_everything: bool = True
    max_warmup_epochs: int = 10
    max_grad_norm: float = 5.0

    num_epochs: int
    num_iterations_per_epoch: int
    num_val_iterations_per_epoch: int

    # nnU-Net records the arguments by their names in this signature: it must stay the stock one.
    def __init__(
        self, plans: dict, configuration: str, fold: int, dataset_json: dict, device: torch.device = CUDA
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        # The stock constructor has just put its own values in front of ours.
        self.initial_lr = type(self).initial_lr
        self.weight_decay = type(self).weight_decay

    @classmethod
    def build_network_architecture(
        cls,
        plans_manager: PlansManager,
        configuration_manager: ConfigurationManager,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> nn.Module:
        """The network of a configuration; nnU-Net calls this on the trainer to train, on the class to predict.

        Raises:
            ValueError: the plan names another of our networks, or none can be derived from it.
        """
        architecture = cls._architecture(configuration_manager)
        return get_network_from_plans(
            architecture["network_class_name"],
            architecture["arch_kwargs"],
            architecture["_kw_requires_import"],
            num_input_channels,
            num_output_channels,
            deep_supervision=enable_deep_supervision,
        )

    @classmethod
    def _architecture(cls, configuration_manager: ConfigurationManager) -> dict[str, Any]:
        planned = configuration_manager.configuration["architecture"]
        return mamba_architecture(planned, cls.network_name, **cls.network_overrides)

    def initialize(self) -> None:
        """Build everything that training needs.

        Raises:
            ValueError: a variable that shortens the training is no positive integer, or the plan names another of our
                networks.
        """
        quick_run = QuickRun.from_environment()
        self.num_epochs = quick_run.epochs or self.num_epochs
        self.num_iterations_per_epoch = quick_run.iterations or self.num_iterations_per_epoch
        self.num_val_iterations_per_epoch = quick_run.val_iterations or self.num_val_iterations_per_epoch
        # nnU-Net gives the coarsest output the weight 0 and normalises by the sum: with a single output that is 0 / 0.
        if len(deep_supervision_scales(self._architecture(self.configuration_manager))) < 2:
            self.enable_deep_supervision = False
        super().initialize()

    def configure_optimizers(self) -> tuple[AdamW, WarmupCosineSchedule]:
        """AdamW and its schedule over `num_epochs`."""
        groups = parameter_groups(self.network, self.weight_decay, self.decay_everything)
        optimizer = clipped_adamw(groups, self.initial_lr, self.max_grad_norm)
        return optimizer, WarmupCosineSchedule(optimizer, self.initial_lr, self.num_epochs, self.max_warmup_epochs)

    def _get_deep_supervision_scales(self) -> list[list[float]] | None:
        if not self.enable_deep_supervision:
            return None
        return deep_supervision_scales(self._architecture(self.configuration_manager))

    def set_deep_supervision_enabled(self, enabled: bool) -> None:
        """Switch the side outputs; nnU-Net switches them on after validation even where they were never in use."""
        super().set_deep_supervision_enabled(enabled and self.enable_deep_supervision)

    def train_step(self, batch: dict) -> dict:
        """One stock step.

        Raises:
            ValueError: a case of the batch has NaN or infinite values.
        """
        require_finite(batch)
        return super().train_step(batch)

    def validation_step(self, batch: dict) -> dict:
        """One stock validation step.

        Raises:
            ValueError: a case of the batch has NaN or infinite values.
        """
        require_finite(batch)
        return super().validation_step(batch)

    def load_checkpoint(self, filename_or_checkpoint: str) -> None:
        """Load a checkpoint file for ``--c`` or ``--val``.

        Raises:
            CheckpointError: it is unreadable or of another network; nothing was loaded or written.
        """
        if not self.was_initialized:
            self.initialize()
        require_checkpoint(filename_or_checkpoint, self.network, self.optimizer)
        super().load_checkpoint(filename_or_checkpoint)
