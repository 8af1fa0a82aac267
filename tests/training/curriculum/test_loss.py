"""The weighted loss against nnU-Net's own and against weighted means made by hand."""

from itertools import product

import pytest
import torch
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss, DC_and_CE_loss, DC_and_topk_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss, SoftDiceLoss
from torch import Tensor, nn

from nnunetv2_mamba.training.curriculum.loss import CaseWeightedLoss

IGNORE = 3
FACTORS = (0.6, 0.4, 0.0)
SIZES = ((3, 12, 10), (3, 6, 5), (3, 3, 2))

KINDS = list(product([True, False], ["classes", "regions"], [True, False], [True, False]))
KIND_IDS = [
    f"{'batch' if batch else 'sample'}-{kind}{'-ignore' if ignore else ''}{'-ds' if ds else ''}"
    for batch, kind, ignore, ds in KINDS
]


def stock_loss(batch_dice: bool, kind: str, ignore: bool, deep_supervision: bool) -> nn.Module:
    """As nnUNetTrainer._build_loss makes it."""
    dice = {"batch_dice": batch_dice, "smooth": 1e-5, "ddp": False}
    if kind == "regions":
        loss = DC_and_BCE_loss(
            {}, dice | {"do_bg": True}, use_ignore_label=ignore, dice_class=MemoryEfficientSoftDiceLoss
        )
    else:
        label = IGNORE if ignore else None
        loss = DC_and_CE_loss(dice | {"do_bg": False}, {}, ignore_label=label, dice_class=MemoryEfficientSoftDiceLoss)
    return DeepSupervisionWrapper(loss, FACTORS) if deep_supervision else loss


def batch(kind: str, ignore: bool, deep_supervision: bool) -> tuple[list[Tensor] | Tensor, list[Tensor] | Tensor]:
    generator = torch.Generator().manual_seed(1)
    outputs, targets = [], []
    for samples, *spatial in SIZES:
        outputs.append(torch.randn(samples, 2 if kind == "regions" else 3, *spatial, generator=generator))
        if kind == "regions":
            targets.append(torch.rand(samples, 3 if ignore else 2, *spatial, generator=generator) > 0.7)
        else:
            labels = torch.randint(0, IGNORE + ignore, (samples, 1, *spatial), generator=generator)
            targets.append(labels.to(torch.int16))
    outputs = [output.requires_grad_() for output in outputs]
    return (outputs, targets) if deep_supervision else (outputs[0], targets[0])


def leaves(outputs: list[Tensor] | Tensor) -> list[Tensor]:
    return [outputs] if isinstance(outputs, Tensor) else outputs[:-1]


def weighted(loss: CaseWeightedLoss, outputs, targets, *weights: float) -> Tensor:
    with loss.observing(lambda _: torch.tensor(weights)):
        return loss(outputs, targets)


@pytest.mark.parametrize(("batch_dice", "kind", "ignore", "ds"), KINDS, ids=KIND_IDS)
def test_equal_weights_give_the_stock_loss_and_its_gradients(batch_dice, kind, ignore, ds):
    stock = stock_loss(batch_dice, kind, ignore, ds)
    outputs, targets = batch(kind, ignore, ds)
    expected = stock(outputs, targets)
    found = weighted(CaseWeightedLoss(stock), outputs, targets, 0.3, 0.3, 0.3)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
    for gradient, own in zip(
        torch.autograd.grad(found, leaves(outputs)), torch.autograd.grad(expected, leaves(outputs)), strict=True
    ):
        torch.testing.assert_close(gradient, own, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("batch_dice", "kind", "ignore", "ds"), KINDS, ids=KIND_IDS)
def test_scaling_the_weights_changes_nothing(batch_dice, kind, ignore, ds):
    loss = CaseWeightedLoss(stock_loss(batch_dice, kind, ignore, ds))
    outputs, targets = batch(kind, ignore, ds)
    first, second = (weighted(loss, outputs, targets, *(c * v for v in (1.0, 0.55, 0.7))) for c in (1, 0.125))
    torch.testing.assert_close(first, second, rtol=1e-6, atol=0)


@pytest.mark.parametrize(("batch_dice", "kind", "ignore", "ds"), KINDS, ids=KIND_IDS)
def test_a_sample_counts_as_often_as_its_weight_says(batch_dice, kind, ignore, ds):
    """Weights of 2 and 1 are the stock loss of a batch that holds the first sample twice."""
    stock = stock_loss(batch_dice, kind, ignore, ds)
    # The smoothing term of Dice does not grow with the weights, which only shows where it is not tiny.
    (stock.loss if ds else stock).dc.smooth = 0
    outputs, targets = batch(kind, ignore, ds)
    twice = [0, 0, 1, 2]
    repeated = [
        [level[twice] for level in value] if isinstance(value, list) else value[twice] for value in (outputs, targets)
    ]
    found = weighted(CaseWeightedLoss(stock), outputs, targets, 2.0, 1.0, 1.0)
    torch.testing.assert_close(found, stock(*repeated), rtol=1e-6, atol=0)


@pytest.mark.parametrize("batch_dice", [True, False])
def test_a_sample_of_weight_zero_gets_no_gradient(batch_dice):
    outputs, targets = batch("classes", False, False)
    loss = CaseWeightedLoss(stock_loss(batch_dice, "classes", False, False))
    (gradient,) = torch.autograd.grad(weighted(loss, outputs, targets, 1.0, 0.0, 0.5), outputs)
    assert not gradient[1].any()
    assert gradient[0].any()
    assert gradient[2].any()


@pytest.mark.parametrize("kind", ["classes", "regions"])
def test_own_losses_are_those_of_the_samples_alone(kind):
    stock = stock_loss(False, kind, False, True)
    outputs, targets = batch(kind, False, True)
    loss = CaseWeightedLoss(stock)
    with loss.observing(None) as observation:
        loss(outputs, targets)
    alone = [stock.loss(outputs[0][i : i + 1], targets[0][i : i + 1]) for i in range(3)]
    torch.testing.assert_close(observation.losses, torch.stack(alone), rtol=1e-6, atol=0)
    assert not observation.losses.requires_grad


def test_own_losses_leave_out_classes_and_samples_that_show_nothing():
    outputs, targets = batch("classes", False, False)
    targets[0] = 0
    targets[1][targets[1] == 2] = 0
    stock = stock_loss(False, "classes", False, False)
    loss = CaseWeightedLoss(stock)
    with loss.observing(None) as observation:
        loss(outputs, targets)
    assert torch.isnan(observation.losses[0])
    probabilities = outputs[1].softmax(0)[1]
    reference = (targets[1, 0] == 1).float()
    dice = 2 * (probabilities * reference).sum() / (probabilities.sum() + reference.sum())
    entropy = nn.functional.cross_entropy(outputs[1:2], targets[1:2, 0].long())
    torch.testing.assert_close(observation.losses[1], entropy - dice, rtol=1e-5, atol=0)


@pytest.mark.parametrize("observed", [True, False], ids=["observed", "validation"])
def test_without_weights_it_is_the_stock_loss_bit_for_bit(observed):
    stock = stock_loss(True, "classes", False, True)
    outputs, targets = batch("classes", False, True)
    loss = CaseWeightedLoss(stock)
    expected = stock(outputs, targets)
    if observed:
        with loss.observing(None):
            found = loss(outputs, targets)
    else:
        found = loss(outputs, targets)
    assert torch.equal(found, expected)
    for gradient, own in zip(
        torch.autograd.grad(found, leaves(outputs)), torch.autograd.grad(expected, leaves(outputs)), strict=True
    ):
        assert torch.equal(gradient, own)


def test_weights_end_with_the_step_even_where_it_fails():
    outputs, targets = batch("classes", False, False)
    stock = stock_loss(True, "classes", False, False)
    loss = CaseWeightedLoss(stock)
    with pytest.raises(RuntimeError, match="out of memory"), loss.observing(lambda _: torch.tensor([1.0, 0.1, 0.1])):
        raise RuntimeError("out of memory")
    assert torch.equal(loss(outputs, targets), stock(outputs, targets))


def test_a_batch_that_is_ignored_altogether_is_finite():
    outputs, targets = batch("classes", True, False)
    targets[:] = IGNORE
    loss = CaseWeightedLoss(stock_loss(True, "classes", True, False))
    found = weighted(loss, outputs, targets, 1.0, 0.5, 0.2)
    assert torch.isfinite(found)
    assert torch.isfinite(torch.autograd.grad(found, outputs)[0]).all()


def test_class_weights_and_label_smoothing_are_those_of_the_stock_loss():
    dice = {"batch_dice": True, "smooth": 1e-5, "do_bg": False, "ddp": False}
    entropy = {"weight": torch.tensor([0.2, 1.0, 3.0]), "label_smoothing": 0.1}
    stock = DC_and_CE_loss(dice, entropy, dice_class=SoftDiceLoss, weight_ce=0.5, weight_dice=2)
    outputs, targets = batch("classes", False, False)
    found = weighted(CaseWeightedLoss(stock), outputs, targets, 1.0, 1.0, 1.0)
    torch.testing.assert_close(found, stock(outputs, targets), rtol=0, atol=1e-6)


class OtherLoss(DC_and_CE_loss):
    pass


# torch's, about how nnU-Net's TopKLoss is made.
@pytest.mark.filterwarnings("ignore:size_average and reduce")
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: nn.CrossEntropyLoss(), "CrossEntropyLoss"),
        (lambda: DC_and_topk_loss({}, {}), "DC_and_topk_loss"),
        (lambda: OtherLoss({}, {}), "OtherLoss"),
        (lambda: DC_and_CE_loss({"clip_tp": 0.1}, {}), "SoftDiceLoss"),
        (lambda: DeepSupervisionWrapper(nn.MSELoss(), (1, 0)), "MSELoss"),
    ],
    ids=["cross-entropy", "topk", "subclass", "clipped", "supervised"],
)
def test_other_losses_are_refused_by_name(make, name):
    with pytest.raises(TypeError, match=f"cannot weight the samples under .*{name}"):
        CaseWeightedLoss(make())
