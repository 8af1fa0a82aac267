"""nnU-Net's Dice and cross-entropy with a weight for each sample, and each sample's own loss."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss, DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss, SoftDiceLoss
from nnunetv2.training.loss.robust_ce_loss import RobustCrossEntropyLoss
from nnunetv2.utilities.ddp_allgather import AllGatherGrad
from torch import Tensor, distributed, nn
from torch.nn import functional as F

Weigh = Callable[[Tensor], Tensor]
"""Function from the samples' own losses (B,), NaN where a sample shows no lesion, to their weights (B,)."""


@dataclass
class Observation:
    """What `CaseWeightedLoss.observing` records.

    Attributes:
        losses: each sample's own loss (B,), NaN where it shows no lesion; None before the step.
    """

    losses: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class SampleSums:
    """Sums over the voxels of each sample, from which nnU-Net's loss is computed.

    Attributes:
        cross_entropy: (B,).
        count: divisor of the cross-entropy (B,).
        intersection: of prediction and reference, per class (B, C).
        prediction: per class (B, C).
        reference: per class (B, C).
    """

    cross_entropy: Tensor
    count: Tensor
    intersection: Tensor
    prediction: Tensor
    reference: Tensor


class CaseWeightedLoss(nn.Module):
    """nnU-Net's own loss, and within `observing` the same loss with a weight for each sample.

    The weights w_i are scaled to a mean of 1 over the batches of all processes. The cross-entropy is a weighted mean.
    Dice is a weighted mean too if the plan says batch_dice = False; otherwise the sums of each sample are multiplied by
    w_i before they are added up. Equal weights give nnU-Net's loss.

    Args:
        stock: what nnU-Net's `_build_loss` returns: Dice with (binary) cross-entropy, with or without deep supervision.
        ddp: whether the batch is spread over processes.

    Raises:
        TypeError: `stock` is another loss.
    """

    def __init__(self, stock: nn.Module, ddp: bool = False) -> None:
        super().__init__()
        supervised = isinstance(stock, DeepSupervisionWrapper)
        self.stock = stock
        self.compound = stock.loss if supervised else stock
        self.factors = stock.weight_factors if supervised else (1.0,)
        self.ddp = ddp
        self._require_known(self.compound)
        self._weigh: Weigh | None = None
        self._observation: Observation | None = None

    @contextmanager
    def observing(self, weigh: Weigh | None) -> Iterator[Observation]:
        """Context in which the samples' own losses are recorded in the yielded observation, and weighted.

        Args:
            weigh: gives the weights; with None the loss is the stock loss, bit for bit.
        """
        self._weigh, self._observation = weigh, Observation()
        try:
            yield self._observation
        finally:
            self._weigh = self._observation = None

    def forward(self, output: Tensor | Sequence[Tensor], target: Tensor | Sequence[Tensor]) -> Tensor:
        """Loss of a batch.

        Args:
            output: logits (B, C, *spatial), or a list of them with deep supervision, full resolution first.
            target: nnU-Net's targets of the same resolutions.
        """
        if self._observation is None:
            return self.stock(output, target)
        outputs = [output] if isinstance(output, Tensor) else output
        targets = [target] if isinstance(target, Tensor) else target
        with torch.set_grad_enabled(torch.is_grad_enabled() and self._weigh is not None):
            sums = self._sums(outputs[0], targets[0])
        self._observation.losses = self._own_losses(sums)
        if self._weigh is None:
            return self.stock(output, target)
        weights = self._weigh(self._observation.losses)
        weights = weights / self._over_processes(weights.sum()) * self._over_processes(torch.ones_like(weights).sum())
        total = self.factors[0] * self._weighted(sums, weights)
        for factor, logits, reference in list(zip(self.factors, outputs, targets, strict=True))[1:]:
            if factor != 0:
                total = total + factor * self._weighted(self._sums(logits, reference), weights)
        return total

    def _weighted(self, sums: SampleSums, weights: Tensor) -> Tensor:
        dice = _bare(self.compound.dc)
        # DDP averages the gradients of the processes; this factor makes the average the gradient of the whole batch.
        processes = distributed.get_world_size() if self.ddp else 1
        normaliser = self._over_processes((weights * sums.count).sum()).clamp_min(1e-8)
        cross_entropy = processes * (weights * sums.cross_entropy).sum() / normaliser
        if dice.batch_dice:
            column = weights[:, None]
            totals = [(column * part).sum(0) for part in (sums.intersection, sums.prediction, sums.reference)]
            if self.ddp:
                totals = [AllGatherGrad.apply(total).sum(0) for total in totals]
            intersection, prediction, reference = totals
            similarity = _dice(intersection, prediction, reference, smooth=dice.smooth).mean()
        else:
            per_sample = _dice(sums.intersection, sums.prediction, sums.reference, smooth=dice.smooth).mean(1)
            similarity = processes * (weights * per_sample).sum() / self._over_processes(weights.sum())
        return self.compound.weight_ce * cross_entropy - self.compound.weight_dice * similarity

    @torch.no_grad()
    def _own_losses(self, sums: SampleSums) -> Tensor:
        """Loss of each sample alone, with Dice over the classes that it shows; NaN where it shows none."""
        smooth = _bare(self.compound.dc).smooth
        dice = _dice(sums.intersection, sums.prediction, sums.reference, smooth=smooth)
        shown = sums.reference > 0
        similarity = torch.where(shown, dice, 0).sum(1) / shown.sum(1)
        cross_entropy = sums.cross_entropy / sums.count.clamp_min(1e-8)
        return self.compound.weight_ce * cross_entropy - self.compound.weight_dice * similarity

    def _over_processes(self, value: Tensor) -> Tensor:
        """Sum of a value over all processes, without a gradient."""
        value = value.detach().clone()
        if self.ddp:
            distributed.all_reduce(value)
        return value

    def _sums(self, logits: Tensor, target: Tensor) -> SampleSums:
        return (self._region_sums if isinstance(self.compound, DC_and_BCE_loss) else self._class_sums)(logits, target)

    def _class_sums(self, logits: Tensor, target: Tensor) -> SampleSums:
        ce, dice = self.compound.ce, _bare(self.compound.dc)
        mask = None if self.compound.ignore_label is None else target != self.compound.ignore_label
        labels = (target if mask is None else torch.where(mask, target, 0)).long()
        entropy = F.cross_entropy(logits, labels[:, 0], ce.weight, reduction="none", label_smoothing=ce.label_smoothing)
        counted = torch.ones_like(entropy) if ce.weight is None else ce.weight[labels[:, 0]]
        if mask is not None:
            entropy, counted = entropy * mask[:, 0], counted * mask[:, 0]
        one_hot = torch.zeros(logits.shape, device=logits.device).scatter_(1, labels, 1)
        first = 0 if dice.do_bg else 1
        predicted = dice.apply_nonlin(logits)[:, first:]
        return _sums(entropy, counted, predicted=predicted, reference=one_hot[:, first:], mask=mask)

    def _region_sums(self, logits: Tensor, target: Tensor) -> SampleSums:
        mask = None
        if self.compound.use_ignore_label:
            mask, target = ~target[:, -1:].bool(), target[:, :-1]
        target = target.float()
        entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        # nnU-Net divides by the number of voxels and regions, but with an ignore label by the number of voxels only.
        counted = torch.ones_like(entropy) if mask is None else mask.to(entropy.dtype)
        if mask is not None:
            entropy = entropy * mask
        first = 0 if _bare(self.compound.dc).do_bg else 1
        predicted = _bare(self.compound.dc).apply_nonlin(logits)[:, first:]
        return _sums(entropy, counted, predicted=predicted, reference=target[:, first:], mask=mask)

    @staticmethod
    def _require_known(compound: nn.Module) -> None:
        dice: Any = _bare(getattr(compound, "dc", None))
        ce: Any = getattr(compound, "ce", None)
        clipped = getattr(dice, "clip_tp", None) is not None
        known_dice = type(dice) in (MemoryEfficientSoftDiceLoss, SoftDiceLoss) and not clipped
        with_classes = type(compound) is DC_and_CE_loss and type(ce) is RobustCrossEntropyLoss
        with_regions = type(compound) is DC_and_BCE_loss and ce.weight is None and ce.pos_weight is None
        if not (known_dice and (with_classes or with_regions)):
            raise TypeError(
                f"the curriculum cannot weight the loss {type(compound).__name__} of {type(ce).__name__} and "
                f"{type(dice).__name__}: it can weight nnU-Net's Dice with cross-entropy or binary cross-entropy."
            )


def _bare(module: Any) -> Any:
    """The module inside the wrapper of torch.compile."""
    return getattr(module, "_orig_mod", module)


def _sums(entropy: Tensor, counted: Tensor, *, predicted: Tensor, reference: Tensor, mask: Tensor | None) -> SampleSums:
    if mask is not None:
        predicted, reference = predicted * mask, reference * mask
    axes = tuple(range(2, predicted.ndim))
    return SampleSums(
        cross_entropy=entropy.flatten(1).sum(1, dtype=torch.float32),
        count=counted.flatten(1).sum(1, dtype=torch.float32),
        intersection=(predicted * reference).sum(axes, dtype=torch.float32),
        prediction=predicted.sum(axes, dtype=torch.float32),
        reference=reference.sum(axes, dtype=torch.float32),
    )


def _dice(intersection: Tensor, prediction: Tensor, reference: Tensor, *, smooth: float) -> Tensor:
    return (2 * intersection + smooth) / (reference + prediction + smooth).clamp_min(1e-8)
