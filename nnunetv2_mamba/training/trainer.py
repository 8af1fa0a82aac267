"""The trainer of our networks, with AdamW and a cosine schedule; everything else is nnU-Net's."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetBaseDataset
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import nn
from torch.optim import AdamW

from nnunetv2_mamba.architectures.registry import find_network
from nnunetv2_mamba.plans.architecture import deep_supervision_scales, mamba_architecture, token_size
from nnunetv2_mamba.training.recipe.optimizer import parameter_groups
from nnunetv2_mamba.training.recipe.schedule import WarmupCosineSchedule
from nnunetv2_mamba.training.records.lesions_below_token import warn_of_lesions_below_token
from nnunetv2_mamba.training.robust_trainer import RobustTrainer
from nnunetv2_mamba.training.safety.scan_backend import scan_backend_for_training
from nnunetv2_mamba.training.settings import CHECKPOINTED_STAGES_VARIABLE, checkpointed_stages_from_environment

CUDA = torch.device("cuda")


class MambaTrainer(RobustTrainer):
    """Base of the trainers of our networks: a subclass names the network, and may change any other class attribute.

    From a plan of nnU-Net's own planners, the trainer derives the arguments of its network. A plan that already names
    this network is used unchanged, and `network_overrides` has no effect. A plan that names another of our networks, or
    that contradicts `network_parts`, is refused in training and in prediction.

    Attributes:
        network_name: class in `nnunetv2_mamba.architectures`.
        network_parts: arguments of the network that the trainer's name stands for.
        network_overrides: arguments of the network that replace those derived from the plan, or are added to them.
        initial_lr: highest learning rate, for training from scratch. The papers' 1e-4 assumes ImageNet weights.
        weight_decay: AdamW's decoupled decay (VM-UNet's code: 1e-2).
        decay_everything: whether norms, biases and the scans' own parameters decay too, as in VM-UNet's code.
        max_warmup_epochs: longest linear warm-up; it never takes more than a tenth of the training.
        max_grad_norm: gradients are clipped to this L2 norm (that of VMamba's training, from Swin). nnU-Net clips at 12
            before that, so larger values have no effect.
    """

    network_name: ClassVar[str]
    network_parts: ClassVar[Mapping[str, Any]] = {}
    network_overrides: ClassVar[Mapping[str, Any]] = {}
    initial_lr: float = 1e-3
    weight_decay: float = 1e-2
    decay_everything: bool = True
    max_warmup_epochs: int = 10
    max_grad_norm: float | None = 5.0

    # nnU-Net records the arguments by their names in this signature, so it must be the stock signature.
    def __init__(
        self, plans: dict, configuration: str, fold: int, dataset_json: dict, device: torch.device = CUDA
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        # The stock constructor has set its own values on the instance.
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
            ValueError: the plan names another of our networks, or the network cannot be derived from it.
        """
        architecture = cls._architecture(configuration_manager)
        return get_network_from_plans(
            architecture["network_class_name"],
            architecture["arch_kwargs"],
            architecture["_kw_requires_import"],
            input_channels=num_input_channels,
            output_channels=num_output_channels,
            deep_supervision=enable_deep_supervision,
        )

    def memory_remedies(self) -> list[str]:
        """Ways to lower the memory of a step: activation checkpointing of one more stage, then a smaller batch."""
        configuration = self.configuration_manager
        arch_kwargs = self._architecture(configuration)["arch_kwargs"]
        stages, remedies = arch_kwargs.get("checkpointed_stages", ()), []
        further = [stage for stage in range(len(arch_kwargs["features_per_stage"])) if stage not in stages]
        if further:
            more = ",".join(map(str, sorted((*stages, further[0]))))
            remedies.append(f"set {CHECKPOINTED_STAGES_VARIABLE}={more}, which takes more time and changes no result")
        if smaller := self.batch_size // 2:
            remedies.append(
                f"derive plans with a smaller batch, nnUNetv2_mamba plan -d {self.plans_manager.dataset_name} --from "
                f"{self.plans_manager.plans_name} --network {self.network_name} --batch-size {smaller} --name NAME, "
                "and train with -p NAME"
            )
        return remedies

    @classmethod
    def _architecture(cls, configuration_manager: ConfigurationManager) -> dict[str, Any]:
        arguments = {**cls.network_parts, **cls.network_overrides}
        architecture = mamba_architecture(configuration_manager.configuration, cls.network_name, **arguments)
        cls._require_parts(architecture["arch_kwargs"])
        # Activation checkpointing changes no result, so each machine may set it differently from the plan.
        if (stages := checkpointed_stages_from_environment()) is not None:
            architecture["arch_kwargs"] = architecture["arch_kwargs"] | {"checkpointed_stages": stages}
        return architecture

    @classmethod
    def _require_parts(cls, planned: Mapping[str, Any]) -> None:
        arguments = inspect.signature(find_network(cls.network_name)).parameters
        for part, wanted in cls.network_parts.items():
            if (found := planned.get(part, arguments[part].default)) != wanted:
                raise ValueError(
                    f"the plans name {cls.network_name} with {part} = {found} and {cls.__name__} stands for {wanted}: "
                    "use plans of nnU-Net's own planners, such as nnUNetPlans, or a trainer that agrees."
                )

    def initialize(self) -> None:
        """Build everything that training needs.

        Raises:
            ValueError: an ``NNUNETV2_MAMBA_*`` variable is invalid, or the plan names another of our networks.
        """
        # nnU-Net gives the coarsest output the weight 0 and normalises by the sum: with a single output that is 0 / 0.
        if len(deep_supervision_scales(self._architecture(self.configuration_manager))) < 2:
            self.enable_deep_supervision = False
        super().initialize()

    def get_tr_and_val_datasets(self) -> tuple[nnUNetBaseDataset, nnUNetBaseDataset]:
        """The stock datasets; the training dataset is kept for the comparison of its lesions with a token."""
        datasets = super().get_tr_and_val_datasets()
        self._training_cases = datasets[0]
        return datasets

    def run_training(self) -> None:
        """Train, unless the scans would run on plain PyTorch on a GPU; the log names their backend.

        Raises:
            SlowScanError: the scans would run on plain PyTorch on a GPU, and NNUNETV2_MAMBA_BACKEND does not name it;
                nothing has been started.
            BackendError: NNUNETV2_MAMBA_BACKEND names a backend that cannot run.
            TrainingRunningError: another process trains this fold.
        """
        # With --c a finished training only repeats its validation.
        if self.current_epoch < self.num_epochs:
            chosen = scan_backend_for_training(self.device.type)
            if self.local_rank == 0:
                self.print_to_log_file(chosen)
        super().run_training()

    def on_train_start(self) -> None:
        """Start as nnU-Net does, and say in the log how many lesions are smaller than one token."""
        super().on_train_start()
        if self.local_rank == 0 and (warning := self._warn_of_lesions_below_token()):
            self.print_to_log_file(warning)

    def _warn_of_lesions_below_token(self) -> str | None:
        cases = self._training_cases
        token = token_size(self._architecture(self.configuration_manager))
        try:
            return warn_of_lesions_below_token(
                Path(cases.source_folder),
                cases.identifiers,
                dataset=self.dataset_json,
                token=token,
                network=self.network_name,
            )
        # The warning is only a hint: a problem with a segmentation must not stop the training.
        except Exception as error:
            return f"lesions were not compared with the tokens of {self.network_name}: {error}"

    def configure_optimizers(self) -> tuple[AdamW, WarmupCosineSchedule]:
        """AdamW and its schedule over `num_epochs`."""
        groups = parameter_groups(self.network, self.weight_decay, self.decay_everything)
        # On the CPU, PyTorch's default updates one tensor after another, which takes five times as long.
        optimizer = AdamW(groups, lr=self.initial_lr, fused=True if self.device.type == "cpu" else None)
        schedule = WarmupCosineSchedule(
            optimizer,
            initial_lr=self.initial_lr,
            num_epochs=self.num_epochs,
            max_warmup_epochs=self.max_warmup_epochs,
        )
        return optimizer, schedule

    def _get_deep_supervision_scales(self) -> list[list[float]] | None:
        if not self.enable_deep_supervision:
            return None
        return deep_supervision_scales(self._architecture(self.configuration_manager))

    def set_deep_supervision_enabled(self, enabled: bool) -> None:
        """Switch deep supervision; nnU-Net switches it on after validation even if the training does not use it."""
        super().set_deep_supervision_enabled(enabled and self.enable_deep_supervision)
