"""A trainer's own loss and, beside it, a loss of lesions."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nnunetv2_mamba.training.instances.terms import InstanceTerm, Part, patches_of
from nnunetv2_mamba.training.per_sample import Samples, number_of_processes, over_processes, per_sample_of


class InstanceLoss(nn.Module):
    """``stock + weight * term``, the term at full resolution; where a batch has no cells, the stock loss alone.

    A mean over lesions is one over the batches of all processes. Validation batches have no cells, so that nnU-Net's
    validation loss stays comparable. The loss can be weighted per sample (`PerSampleLoss`) where the stock loss can.

    Args:
        stock: any loss of nnU-Net's signature.
        term: the loss of lesions.
        weight: of the term.
        regions: whether the classes are regions.
        ignore_label: None where there is none.
        ddp: whether the batch is spread over processes.
    """

    def __init__(
        self,
        stock: nn.Module,
        term: InstanceTerm,
        *,
        weight: float,
        regions: bool,
        ignore_label: int | None,
        ddp: bool = False,
    ) -> None:
        super().__init__()
        self.stock = stock
        self.term = term
        self.weight = weight
        self.regions = regions
        self.ignore_label = ignore_label
        self.ddp = ddp

    def forward(self, output: Tensor | Sequence[Tensor], target: Tensor | Sequence[Tensor]) -> Tensor:
        """Loss of a batch.

        Args:
            output: logits (B, C, *spatial), or a list of them with deep supervision, full resolution first.
            target: nnU-Net's targets of the same resolutions and, in training, the cells as one more of them.
        """
        own_target, cells = _apart(output, target)
        loss = self.stock(output, own_target)
        if cells is None:
            return loss
        parts = self._parts(_first(output), _first(own_target), cells)
        return loss + self.weight * _mean(parts, None, self.ddp)

    def per_sample(self, output: Tensor | Sequence[Tensor], target: Tensor | Sequence[Tensor], *, ddp: bool) -> Samples:
        """A batch under this loss. A sample's own loss is the stock one, so that many lesions do not make it hard.

        Raises:
            TypeError: the stock loss cannot be weighted.
        """
        own_target, cells = _apart(output, target)
        samples = per_sample_of(self.stock).per_sample(output, own_target, ddp=ddp)
        if cells is None:
            return samples
        return _WithParts(samples, self._parts(_first(output), _first(own_target), cells), self.weight, ddp)

    def _parts(self, logits: Tensor, target: Tensor, cells: Tensor) -> list[Part]:
        with torch.autocast(logits.device.type, enabled=False):
            patches = patches_of(logits, target, cells, regions=self.regions, ignore_label=self.ignore_label)
            return self.term(patches)


class _WithParts:
    """A batch under a stock loss and the parts of a term."""

    def __init__(self, stock: Samples, parts: list[Part], weight: float, ddp: bool) -> None:
        self._stock, self._parts, self._weight, self._ddp = stock, parts, weight, ddp
        self.losses = stock.losses

    def weighted(self, weights: Tensor) -> Tensor:
        """The loss of the batch; each lesion has the weight of its sample."""
        return self._stock.weighted(weights) + self._weight * _mean(self._parts, weights, self._ddp)


def _mean(parts: list[Part], weights: Tensor | None, ddp: bool) -> Tensor:
    """Sum of the parts' means over lesions, each lesion with the weight of its sample (B,), or with equal weights."""
    means = []
    for part in parts:
        losses, lesions = part.losses, part.lesions.to(part.losses.dtype)
        if weights is not None:
            losses, lesions = weights * losses, weights * lesions
        total = over_processes(lesions.sum(), ddp)
        # Without a lesion anywhere, both sums are zero.
        mean = number_of_processes(ddp) * losses.sum() / torch.where(total > 0, total, 1)
        means.append(part.weight * mean)
    return torch.stack(means).sum()


def _apart(
    output: Tensor | Sequence[Tensor], target: Tensor | Sequence[Tensor]
) -> tuple[Tensor | list[Tensor], Tensor | None]:
    """The targets of the stock loss, and the cells where there are any."""
    if isinstance(target, Tensor):
        return target, None
    targets, number = list(target), 1 if isinstance(output, Tensor) else len(output)
    cells = targets.pop() if len(targets) > number else None
    return targets[0] if isinstance(output, Tensor) else targets, cells


def _first(resolutions: Tensor | Sequence[Tensor]) -> Tensor:
    return resolutions if isinstance(resolutions, Tensor) else resolutions[0]
