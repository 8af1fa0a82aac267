"""The loss of lesions beside a stock loss, weighted or not."""

import pytest
import torch
from torch import Tensor, nn

from nnunetv2_mamba.training.curriculum.loss import CaseWeightedLoss
from nnunetv2_mamba.training.instances.cells import cells_of
from nnunetv2_mamba.training.instances.loss import InstanceLoss
from nnunetv2_mamba.training.instances.terms import BiCC, BlobLoss, ComponentTversky, InstanceTerm, patches_of
from tests.training.curriculum.test_loss import IGNORE, KIND_IDS, KINDS, batch, stock_loss

QUARTER = BiCC(alpha=0.25)
every_kind = pytest.mark.parametrize(("batch_dice", "kind", "ignore", "ds"), KINDS, ids=KIND_IDS)


def with_cells(targets: list[Tensor] | Tensor, kind: str, ignore: bool) -> list[Tensor]:
    targets = targets if isinstance(targets, list) else [targets]
    full = targets[0]
    masks = full[:, :2].bool() if kind == "regions" else torch.cat([full == label for label in (1, 2)], dim=1)
    return [*targets, cells_of(masks)]


def made(stock: nn.Module, kind: str, ignore: bool, weight: float = 0.7, term: InstanceTerm = QUARTER) -> InstanceLoss:
    label = IGNORE if ignore else None
    return InstanceLoss(stock, term, weight=weight, regions=kind == "regions", ignore_label=label)


def first(outputs: list[Tensor] | Tensor) -> Tensor:
    return outputs if isinstance(outputs, Tensor) else outputs[0]


@every_kind
@pytest.mark.parametrize("term", [BiCC(0.25), BlobLoss(), ComponentTversky()], ids=["BiCC", "blob", "Tversky"])
def test_it_is_the_stock_loss_and_the_mean_over_lesions(batch_dice, kind, ignore, ds, term):
    stock = stock_loss(batch_dice, kind, ignore, ds)
    outputs, targets = batch(kind, ignore, ds)
    targets_with_cells = with_cells(targets, kind, ignore)
    loss = made(stock, kind, ignore, term=term)
    label = IGNORE if ignore else None
    patches = patches_of(
        first(outputs), first(targets), targets_with_cells[-1], regions=kind == "regions", ignore_label=label
    )
    parts = sum(part.weight * part.losses.sum() / part.lesions.sum() for part in term(patches))
    found = loss(outputs, targets_with_cells)
    torch.testing.assert_close(found, stock(outputs, targets) + 0.7 * parts)
    (gradient,) = torch.autograd.grad(found, first(outputs))
    assert torch.isfinite(gradient).all()


@every_kind
def test_without_cells_it_is_the_stock_loss(batch_dice, kind, ignore, ds):
    stock = stock_loss(batch_dice, kind, ignore, ds)
    outputs, targets = batch(kind, ignore, ds)
    assert torch.equal(made(stock, kind, ignore)(outputs, targets), stock(outputs, targets))


@every_kind
def test_equal_weights_change_nothing(batch_dice, kind, ignore, ds):
    loss = made(stock_loss(batch_dice, kind, ignore, ds), kind, ignore)
    outputs, targets = batch(kind, ignore, ds)
    targets = with_cells(targets, kind, ignore)
    weighted = CaseWeightedLoss(loss)
    with weighted.observing(lambda losses: torch.full((3,), 0.3)) as observation:
        found = weighted(outputs, targets)
    expected = loss(outputs, targets)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    for gradients in zip(*(torch.autograd.grad(value, first(outputs)) for value in (found, expected)), strict=True):
        torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-8)
    plain = CaseWeightedLoss(loss.stock)
    with plain.observing(lambda losses: torch.ones(3)) as own:
        plain(outputs, targets[:-1] if ds else targets[0])
    torch.testing.assert_close(observation.losses, own.losses, equal_nan=True)


@every_kind
def test_a_sample_of_weight_zero_has_no_gradient(batch_dice, kind, ignore, ds):
    weighted = CaseWeightedLoss(made(stock_loss(batch_dice, kind, ignore, ds), kind, ignore))
    outputs, targets = batch(kind, ignore, ds)
    with weighted.observing(lambda losses: torch.tensor([1.0, 0.0, 1.0])):
        loss = weighted(outputs, with_cells(targets, kind, ignore))
    (gradient,) = torch.autograd.grad(loss, first(outputs))
    assert not gradient[1].any()
    assert gradient[0].any()


def test_a_lesion_has_the_weight_of_its_sample():
    outputs, targets = batch("classes", False, False)
    targets = with_cells(targets, "classes", False)
    weights = torch.tensor([2.0, 1.0, 0.0])
    nothing = stock_loss(False, "classes", False, False)
    loss = made(nothing, "classes", False, weight=1.0, term=BiCC(0))
    with (weighted := CaseWeightedLoss(loss)).observing(lambda losses: weights):
        found = weighted(outputs, targets)
    with (stock := CaseWeightedLoss(nothing)).observing(lambda losses: weights):
        found = found - stock(outputs, targets[0])
    (part,) = BiCC(0)(patches_of(outputs, targets[0], targets[1], regions=False, ignore_label=None))
    expected = (2 * part.losses[0] + part.losses[1]) / (2 * part.lesions[0] + part.lesions[1])
    torch.testing.assert_close(found, expected)


def test_a_loss_inside_that_cannot_be_weighted_is_refused_at_once():
    loss = InstanceLoss(nn.CrossEntropyLoss(), BiCC(), weight=1.0, regions=False, ignore_label=None)
    with pytest.raises(TypeError, match="cannot weight the samples under CrossEntropyLoss"):
        CaseWeightedLoss(loss)
