"""Losses that can say what each sample contributes, so that samples can be weighted; nnU-Net's own are among them.

Any loss that is a `PerSampleLoss` can be weighted, such as by a curriculum. nnU-Net's four, Dice with cross-entropy for
classes and with binary cross-entropy for regions, with and without deep supervision, are made one by `per_sample_of`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss, DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss, SoftDiceLoss
from nnunetv2.training.loss.robust_ce_loss import RobustCrossEntropyLoss
from nnunetv2.utilities.ddp_allgather import AllGatherGrad
from torch import Tensor, distributed, nn
from torch.nn import functional as F


class Samples(Protocol):
    """A batch under a loss.

    Attributes:
        losses: each sample's own loss (B,), without a gradient; NaN where a sample shows no lesion.
    """

    losses: Tensor

    def weighted(self, weights: Tensor) -> Tensor:
        """The loss of the batch with a weight for each sample.

        Args:
            weights: (B,), with a mean of 1 over the batches of all processes. Equal weights give the loss itself.
        """
        ...


@runtime_checkable
class PerSampleLoss(Protocol):
    """A loss that can be weighted."""

    def per_sample(self, output: Tensor | Sequence[Tensor], target: Tensor | Sequence[Tensor], *, ddp: bool) -> Samples:
        """A batch under this loss; arguments are those of the loss, and whether the batch is spread over processes."""
        ...


def per_sample_of(loss: nn.Module) -> PerSampleLoss:
    """A loss as one that can be weighted.

    Args:
        loss: one around another loss has that one as its attribute ``stock``.

    Raises:
        TypeError: it is neither a `PerSampleLoss` nor one of nnU-Net's, or the loss inside is not.
    """
    if not isinstance(loss, PerSampleLoss):
        return StockPerSample(loss)
    if isinstance(inside := getattr(loss, "stock", None), nn.Module):
        per_sample_of(inside)
    return loss


def over_processes(value: Tensor, ddp: bool) -> Tensor:
    """Sum of a value over all processes, without a gradient."""
    value = value.detach().clone()
    if ddp:
        distributed.all_reduce(value)
    return value


def number_of_processes(ddp: bool) -> int:
    """By which a mean is multiplied, since DDP averages gradients and the mean is one of the whole batch."""
    return distributed.get_world_size() if ddp else 1


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


class StockPerSample:
    """nnU-Net's Dice and cross-entropy, as `_build_loss` makes them.

    The cross-entropy is a weighted mean. Dice is a weighted mean too if the plan says batch_dice = False; otherwise the
    sums of each sample are multiplied by its weight before they are added up.

    Args:
        stock: with or without deep supervision.

    Raises:
        TypeError: `stock` is another loss.
    """

    def __init__(self, stock: nn.Module) -> None:
        supervised = isinstance(stock, DeepSupervisionWrapper)
        self.compound: Any = stock.loss if supervised else stock
        self.factors: Sequence[float] = stock.weight_factors if supervised else (1.0,)
        _require_known(self.compound)

    def per_sample(self, output: Tensor | Sequence[Tensor], target: Tensor | Sequence[Tensor], *, ddp: bool) -> Samples:
        """A batch under this loss."""
        outputs = [output] if isinstance(output, Tensor) else list(output)
        targets = [target] if isinstance(target, Tensor) else list(target)
        return _StockSamples(self, outputs, targets, ddp)

    def sums(self, logits: Tensor, target: Tensor) -> SampleSums:
        """Sums over the voxels at one resolution."""
        return (self._region_sums if isinstance(self.compound, DC_and_BCE_loss) else self._class_sums)(logits, target)

    def mean(self, sums: SampleSums, weights: Tensor, ddp: bool) -> Tensor:
        """Loss of a batch at one resolution, with a weight for each sample."""
        dice, processes = _bare(self.compound.dc), number_of_processes(ddp)
        normaliser = over_processes((weights * sums.count).sum(), ddp).clamp_min(1e-8)
        cross_entropy = processes * (weights * sums.cross_entropy).sum() / normaliser
        if dice.batch_dice:
            column = weights[:, None]
            totals = [(column * part).sum(0) for part in (sums.intersection, sums.prediction, sums.reference)]
            if ddp:
                totals = [AllGatherGrad.apply(total).sum(0) for total in totals]
            intersection, prediction, reference = totals
            similarity = _dice(intersection, prediction, reference, smooth=dice.smooth).mean()
        else:
            per_sample = _dice(sums.intersection, sums.prediction, sums.reference, smooth=dice.smooth).mean(1)
            similarity = processes * (weights * per_sample).sum() / over_processes(weights.sum(), ddp)
        return self.compound.weight_ce * cross_entropy - self.compound.weight_dice * similarity

    @torch.no_grad()
    def own_losses(self, sums: SampleSums) -> Tensor:
        """Loss of each sample alone, with Dice over the classes that it shows; NaN where it shows none."""
        smooth = _bare(self.compound.dc).smooth
        dice = _dice(sums.intersection, sums.prediction, sums.reference, smooth=smooth)
        shown = sums.reference > 0
        similarity = torch.where(shown, dice, 0).sum(1) / shown.sum(1)
        cross_entropy = sums.cross_entropy / sums.count.clamp_min(1e-8)
        return self.compound.weight_ce * cross_entropy - self.compound.weight_dice * similarity

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


class _StockSamples:
    """A batch under nnU-Net's loss; the sums at full resolution serve the samples' own losses and the weighted loss."""

    def __init__(self, loss: StockPerSample, outputs: list[Tensor], targets: list[Tensor], ddp: bool) -> None:
        self._loss, self._outputs, self._targets, self._ddp = loss, outputs, targets, ddp
        self._first = loss.sums(outputs[0], targets[0])
        self.losses = loss.own_losses(self._first)

    def weighted(self, weights: Tensor) -> Tensor:
        """The loss of the batch with a weight for each sample."""
        loss = self._loss
        total = loss.factors[0] * loss.mean(self._first, weights, self._ddp)
        for factor, logits, reference in list(zip(loss.factors, self._outputs, self._targets, strict=True))[1:]:
            if factor != 0:
                total = total + factor * loss.mean(loss.sums(logits, reference), weights, self._ddp)
        return total


def _require_known(compound: nn.Module) -> None:
    dice: Any = _bare(getattr(compound, "dc", None))
    ce: Any = getattr(compound, "ce", None)
    clipped = getattr(dice, "clip_tp", None) is not None
    known_dice = type(dice) in (MemoryEfficientSoftDiceLoss, SoftDiceLoss) and not clipped
    with_classes = type(compound) is DC_and_CE_loss and type(ce) is RobustCrossEntropyLoss
    with_regions = type(compound) is DC_and_BCE_loss and ce.weight is None and ce.pos_weight is None
    if not (known_dice and (with_classes or with_regions)):
        raise TypeError(
            f"cannot weight the samples under {type(compound).__name__} of {type(ce).__name__} and "
            f"{type(dice).__name__}: a loss must be nnU-Net's Dice with cross-entropy or binary cross-entropy, or have "
            "the method per_sample."
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
