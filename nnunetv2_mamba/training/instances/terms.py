"""Published losses in which each lesion counts as much as any other, from sums over lesions and over their cells.

A class is compared with all others (one against the rest, arXiv 2604.24276), so that every term takes classes and
regions alike. Voxels with the ignore label take no part.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from nnunetv2_mamba.training.instances.cells import cells_of

SMOOTH = 1e-5
"""nnU-Net's own, of its Dice loss."""


@dataclass(frozen=True)
class Patches:
    """Prediction and reference of a batch, for each of F foreground classes or regions.

    Attributes:
        margins: log odds of the class against all others (B, F, *spatial), float32.
        predicted: where the prediction decides for the class, bool (B, F, *spatial).
        reference: bool (B, F, *spatial).
        cells: number of the reference's component that a voxel is nearest to (B, F, *spatial); 0 where there is none.
        valid: voxels without the ignore label, bool (B, 1, *spatial); None where all are.
    """

    margins: Tensor
    predicted: Tensor
    reference: Tensor
    cells: Tensor
    valid: Tensor | None


@dataclass(frozen=True)
class Part:
    """A part of a term: a mean over lesions of the batch.

    Attributes:
        weight: of the mean in the term.
        losses: sum of the losses of a sample's lesions (B,).
        lesions: their number (B,).
    """

    weight: float
    losses: Tensor
    lesions: Tensor


class InstanceTerm(Protocol):
    """A loss of lesions."""

    def __call__(self, patches: Patches) -> list[Part]:
        """Its parts for a batch."""
        ...


@dataclass(frozen=True)
class Sums:
    """Sums over the voxels of numbered parts of each patch, each (B, F, N); number 0 is the first column.

    Attributes:
        voxels: how many there are.
        entropy: binary cross-entropy.
        intersection: of probability and reference.
        prediction: of the probability.
        reference: voxels of it.
    """

    voxels: Tensor
    entropy: Tensor
    intersection: Tensor
    prediction: Tensor
    reference: Tensor


def sums_of(patches: Patches, parts: Tensor) -> Sums:
    """Sums over the parts of each patch.

    Args:
        patches: prediction and reference.
        parts: number of the part of each voxel (B, F, *spatial), integers from 0.
    """
    reference = patches.reference.to(patches.margins.dtype)
    probability = patches.margins.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(patches.margins, reference, reduction="none")
    valid = (
        torch.ones_like(reference) if patches.valid is None else patches.valid.to(reference.dtype).expand_as(reference)
    )
    values = torch.stack(
        [valid, entropy * valid, probability * reference * valid, probability * valid, reference * valid]
    )
    samples, classes = parts.shape[:2]
    numbers = int(parts.max()) + 1
    first = torch.arange(samples * classes, device=parts.device).view(samples, classes, 1) * numbers
    index = (parts.flatten(2).long() + first).flatten()
    totals = values.new_zeros(len(values), samples * classes * numbers).index_add(1, index, values.flatten(1))
    return Sums(*totals.view(len(values), samples, classes, numbers))


@dataclass(frozen=True)
class BiCC:
    """Dice and cross-entropy in the cell of each lesion, and of each predicted component.

    A cell is the part of the patch that is nearer to its component than to any other. Cells of the reference raise the
    recall, cells of the prediction punish false positives. Source: CC-DiceCE, arXiv 2511.17146, which is ``alpha=0``;
    its form in both directions, arXiv 2609.30223.

    Attributes:
        alpha: share of the predicted components, from 0 to 1.

    Raises:
        ValueError: alpha is outside of its range.
    """

    alpha: float = 0.25

    def __post_init__(self) -> None:
        """Check the range."""
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha of BiCC is {self.alpha}: give a number from 0, cells of the reference only, to 1.")

    def __call__(self, patches: Patches) -> list[Part]:
        """Means over the cells of the reference and over those of the prediction."""
        parts = []
        if self.alpha < 1:
            parts.append(_in_cells(1 - self.alpha, patches, patches.cells))
        if self.alpha > 0:
            cells = cells_of(patches.predicted).to(patches.margins.device)
            parts.append(_in_cells(self.alpha, patches, cells))
        return parts


@dataclass(frozen=True)
class BlobLoss:
    """Dice and cross-entropy of each lesion against the whole patch without the other lesions.

    Source: blob loss, arXiv 2205.08209.
    """

    def __call__(self, patches: Patches) -> list[Part]:
        """Mean over the lesions."""
        sums = sums_of(patches, patches.cells * patches.reference)
        background = slice(0, 1)
        voxels = sums.voxels[..., 1:] + sums.voxels[..., background]
        entropy = (sums.entropy[..., 1:] + sums.entropy[..., background]) / voxels.clamp_min(1)
        prediction = sums.prediction[..., 1:] + sums.prediction[..., background]
        dice = _dice(sums.intersection[..., 1:], prediction, sums.reference[..., 1:])
        return [_part(1.0, entropy - dice, sums.reference[..., 1:] > 0)]


@dataclass(frozen=True)
class ComponentTversky:
    """Tversky loss in which a voxel of a lesion weighs the less, the larger its lesion is.

    A lesion of n voxels has the weight (n + offset)^-exponent at each of them. Source: the component-adaptive Tversky
    term of CATMIL, arXiv 2604.08015, without its multiple-instance term; the constants are those of its published code.

    Attributes:
        false_positives: weight of wrongly predicted voxels.
        false_negatives: weight of missed voxels.
        exponent: how fast the weight falls with the size.
        offset: in voxels, so that the smallest lesions do not weigh too much.
        background: weight of a background voxel.
    """

    false_positives: float = 0.3
    false_negatives: float = 0.7
    exponent: float = 1.0
    offset: float = 5.0
    background: float = 0.1

    def __call__(self, patches: Patches) -> list[Part]:
        """Mean over the classes that the samples show; a "lesion" of this part is such a class."""
        sums = sums_of(patches, patches.cells * patches.reference)
        sizes, found = sums.reference[..., 1:], sums.intersection[..., 1:]
        weights = (sizes + self.offset) ** -self.exponent
        true_positive = (weights * found).sum(-1)
        missed = (weights * (sizes - found)).sum(-1)
        wrong = self.background * sums.prediction[..., 0]
        weighted = true_positive + self.false_positives * wrong + self.false_negatives * missed
        index = (true_positive + SMOOTH) / (weighted + SMOOTH)
        return [_part(1.0, 1 - index, sizes.sum(-1) > 0)]


def patches_of(logits: Tensor, target: Tensor, cells: Tensor, *, regions: bool, ignore_label: int | None) -> Patches:
    """Prediction and reference in the form that the terms read.

    Args:
        logits: (B, C, *spatial).
        target: nnU-Net's target of the same resolution: labels (B, 1, *spatial), or regions (B, R, *spatial), with the
            ignore label as the last region where there is one.
        cells: as `AppendCells` appends them (B, F, *spatial).
        regions: whether the classes are regions.
        ignore_label: None where there is none.
    """
    logits = logits.float()
    if regions:
        valid = ~target[:, -1:].bool() if ignore_label is not None else None
        reference = target[:, : logits.shape[1]].bool()
        return Patches(logits, logits.detach() > 0, reference, cells, valid)
    labels = torch.arange(1, logits.shape[1], device=logits.device).view(1, -1, *(1,) * (logits.ndim - 2))
    valid = target != ignore_label if ignore_label is not None else None
    predicted = logits.detach().argmax(1, keepdim=True) == labels
    return Patches(_against_the_rest(logits), predicted, target == labels, cells, valid)


def _against_the_rest(logits: Tensor) -> Tensor:
    """Log odds of each foreground class against all other classes (B, C - 1, *spatial)."""
    others: Sequence[Tensor] = [
        torch.cat([logits[:, :label], logits[:, label + 1 :]], dim=1).logsumexp(1)
        for label in range(1, logits.shape[1])
    ]
    return logits[:, 1:] - torch.stack(others, dim=1)


def _in_cells(weight: float, patches: Patches, cells: Tensor) -> Part:
    sums = sums_of(patches, cells)
    entropy = sums.entropy / sums.voxels.clamp_min(1)
    losses = entropy - _dice(sums.intersection, sums.prediction, sums.reference)
    return _part(weight, losses[..., 1:], sums.voxels[..., 1:] > 0)


def _dice(intersection: Tensor, prediction: Tensor, reference: Tensor) -> Tensor:
    return (2 * intersection + SMOOTH) / (prediction + reference + SMOOTH)


def _part(weight: float, losses: Tensor, present: Tensor) -> Part:
    """A part from the losses of lesions (B, ...), of which some do not exist."""
    return Part(weight, torch.where(present, losses, 0).flatten(1).sum(1), present.flatten(1).sum(1))
