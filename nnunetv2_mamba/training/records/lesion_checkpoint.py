"""The lesion F1 of a few validation cases during the training, and a checkpoint of the network that had the highest."""

from collections import Counter
from collections.abc import Mapping
from math import isnan, nan
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from matplotlib import style
from matplotlib.figure import Figure
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.label_handling.label_handling import convert_labelmap_to_one_hot
from torch import distributed

from nnunetv2_mamba.evaluation.case import MaskPair, compare_pair
from nnunetv2_mamba.evaluation.metrics import METRICS
from nnunetv2_mamba.evaluation.protocol import Protocol
from nnunetv2_mamba.evaluation.targets import ignore_label_of, targets_of
from nnunetv2_mamba.files import written_aside
from nnunetv2_mamba.training.measured_cases import gathered
from nnunetv2_mamba.training.records.epoch_log import log_epoch_value
from nnunetv2_mamba.training.safety.safe_checkpoint import SafeCheckpointMixin

BEST = "checkpoint_best_lesion.pth"
CURVE = "lesion_f1"
EXTRA = "best_lesion_f1"


class LesionCheckpointMixin(SafeCheckpointMixin):
    """Keeps the network with the highest lesion F1: ``class T(LesionCheckpointMixin, SomeTrainer)``.

    Every few epochs, the network predicts always the same validation cases, as nnU-Net predicts them but without
    mirroring, on the preprocessed images. The lesion F1 of all targets and cases together is in nnU-Net's logger as
    ``lesion_f1``, drawn into ``lesion_progress.png``, and the best network so far is in ``checkpoint_best_lesion.pth``:
    ``nnUNetv2_predict -chk checkpoint_best_lesion.pth``. The choice is made on validation cases, so report such a
    network on other ones. With ``--c`` the best value is kept.

    Attributes:
        lesion_checkpoint_every: epochs between two predictions.
        lesion_checkpoint_cases: at most so many validation cases are predicted, the first ones by name.
        lesion_protocol: the rules.
    """

    lesion_checkpoint_every: ClassVar[int] = 10
    lesion_checkpoint_cases: ClassVar[int] = 20
    lesion_protocol: ClassVar[Protocol] = Protocol()

    _best_lesion_f1: float = -1.0
    _is_best_lesion_epoch: bool = False
    _cases: list[str] | None = None

    def on_validation_epoch_end(self, val_outputs: list[dict]) -> None:
        """Log the lesion F1 of the epoch; NaN in the epochs without a prediction."""
        super().on_validation_epoch_end(val_outputs)
        last = self.current_epoch == self.num_epochs - 1
        due = last or (self.current_epoch + 1) % self.lesion_checkpoint_every == 0
        f1 = self._lesion_f1() if due else nan
        log_epoch_value(self, CURVE, f1)
        if isnan(f1):
            return
        self._is_best_lesion_epoch = f1 > self._best_lesion_f1
        self._best_lesion_f1 = max(f1, self._best_lesion_f1)
        remark = ", the highest so far" if self._is_best_lesion_epoch else ""
        self.print_to_log_file(f"lesion F1 of the validation cases {f1:.4f}{remark}")

    def save_best_of_others(self, next_epoch: int) -> None:
        """Write the network of this epoch if it is the best one by its lesion F1."""
        super().save_best_of_others(next_epoch)
        if self._is_best_lesion_epoch:
            self._is_best_lesion_epoch = False
            self.save_as(BEST, next_epoch)

    def on_epoch_end(self) -> None:
        """Draw the curve after nnU-Net has drawn its own."""
        super().on_epoch_end()
        if self.local_rank == 0:
            _draw(Path(self.output_folder) / "lesion_progress.png", self.logger.get_value(CURVE, None))

    def checkpoint_extras(self) -> dict[str, Any]:
        """The best value so far."""
        return {**super().checkpoint_extras(), EXTRA: self._best_lesion_f1}

    def load_checkpoint_extras(self, checkpoint: Mapping[str, Any]) -> None:
        """Go on from the best value so far."""
        super().load_checkpoint_extras(checkpoint)
        self._best_lesion_f1 = checkpoint.get(EXTRA, -1.0)

    @torch.inference_mode()
    def _lesion_f1(self) -> float:
        """Of the chosen cases together; NaN where neither has a lesion nor a component."""
        network, targets = self.network, targets_of(self.dataset_json)
        self.set_deep_supervision_enabled(False)
        network.eval()
        predictor = nnUNetPredictor(use_mirroring=False, device=self.device, allow_tqdm=False)
        predictor.manual_initialization(
            network, self.plans_manager, self.configuration_manager, None, self.dataset_json, type(self).__name__, None
        )
        counts: Counter[str] = Counter()
        try:
            for case in self._lesion_cases():
                reference, predicted, spacing = self._predicted(predictor, case)
                ignored = reference == ignore if (ignore := ignore_label_of(self.dataset_json)) is not None else None
                for target in targets:
                    pair = MaskPair(target.mask(reference), target.mask(predicted), spacing=spacing, ignored=ignored)
                    counts.update(compare_pair(pair, self.lesion_protocol, distances=False).counts)
        finally:
            self.set_deep_supervision_enabled(self.enable_deep_supervision)
        formula = METRICS[CURVE].formula
        assert formula is not None
        parts, _ = gathered(dict(counts), self.is_ddp)
        total: Counter[str] = Counter()
        for part in parts:
            total.update(part)
        return float(formula(total, self.lesion_protocol))

    def _lesion_cases(self) -> list[str]:
        """Of this process: the cases are shared out among all."""
        if self._cases is None:
            self._cases = sorted(self.do_split()[1])[: self.lesion_checkpoint_cases]
        return self._cases[distributed.get_rank() :: distributed.get_world_size()] if self.is_ddp else self._cases

    def _predicted(self, predictor: nnUNetPredictor, case: str) -> tuple[np.ndarray, np.ndarray, tuple[float, ...]]:
        """Reference, prediction and spacing of a preprocessed case; an image has two axes."""
        dataset = self.dataset_class(
            self.preprocessed_dataset_folder,
            [case],
            folder_with_segs_from_previous_stage=self.folder_with_segs_from_previous_stage,
        )
        image, segmentation, previous, _ = dataset.load_case(case)
        image, reference = image[:], segmentation[0][:]
        if self.is_cascaded:
            labels = self.label_manager.foreground_labels
            image = np.vstack((image, convert_labelmap_to_one_hot(previous[:], labels, output_dtype=image.dtype)))
        logits = predictor.predict_sliding_window_return_logits(torch.from_numpy(np.array(image)))
        predicted = np.asarray(self.label_manager.convert_logits_to_segmentation(logits.cpu()))
        spacing = tuple(map(float, self.configuration_manager.spacing))
        if reference.shape[0] == 1:
            return reference[0], predicted[0], spacing[-2:]
        return reference, predicted, spacing if len(spacing) == 3 else (1.0, *spacing)


def _draw(path: Path, values: list[float]) -> None:
    known = [(epoch, value) for epoch, value in enumerate(values) if not isnan(value)]
    if not known:
        return
    with style.context("default"), written_aside(path) as aside:
        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.subplots()
        axes.plot(*zip(*known, strict=True), marker=".")
        axes.set(xlabel="epoch", ylabel="lesion F1, validation cases", ylim=(-0.02, 1.02))
        axes.grid(alpha=0.3)
        figure.savefig(aside, format="png", dpi=100)
