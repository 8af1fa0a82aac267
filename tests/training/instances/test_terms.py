"""The losses of lesions: drawn by hand, against loops over lesions, and what they promise about sizes."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nnunetv2_mamba.training.instances.cells import cells_of
from nnunetv2_mamba.training.instances.loss import InstanceLoss
from nnunetv2_mamba.training.instances.terms import BiCC, BlobLoss, ComponentTversky, InstanceTerm, Patches, patches_of

TERMS = {
    "CC-DiceCE": BiCC(alpha=0),
    "BiCC": BiCC(alpha=0.25),
    "predicted cells": BiCC(alpha=1),
    "blob loss": BlobLoss(),
    "component-adaptive Tversky": ComponentTversky(),
}
every_term = pytest.mark.parametrize("name", TERMS)
SMOOTH = 1e-5


def binary(probability: Tensor, reference: Tensor, valid: Tensor | None = None) -> Patches:
    """One class in one sample, from its probability (*spatial)."""
    margins, masks = torch.logit(probability)[None, None], reference.bool()[None, None]
    return Patches(margins, margins.detach() > 0, masks, cells_of(masks), None if valid is None else valid[None, None])


def value(term: InstanceTerm, patches: Patches) -> Tensor:
    return sum(part.weight * part.losses.sum() / part.lesions.sum().clamp_min(1) for part in term(patches))


def dice(probability: Tensor, reference: Tensor) -> Tensor:
    return (2 * (probability * reference).sum() + SMOOTH) / (probability.sum() + reference.sum() + SMOOTH)


def random_patches(shape: tuple[int, ...], seed: int, classes: int = 2) -> Patches:
    generator = torch.Generator().manual_seed(seed)
    margins = torch.randn(2, classes, *shape, generator=generator, dtype=torch.float64, requires_grad=True)
    reference = torch.rand(2, classes, *shape, generator=generator) > 0.93
    valid = torch.rand(2, 1, *shape, generator=generator) > 0.1
    reference &= valid
    return Patches(margins, margins.detach() > 1.2, reference, cells_of(reference), valid)


def each(patches: Patches, cells: Tensor):
    """Sample, class and number of each cell."""
    for sample in range(cells.shape[0]):
        for label in range(cells.shape[1]):
            for number in cells[sample, label].unique().tolist():
                if number:
                    yield sample, label, number


def of_class(patches: Patches, sample: int, label: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Probability, cross-entropy, reference and valid voxels."""
    margins, reference = patches.margins[sample, label], patches.reference[sample, label].to(patches.margins.dtype)
    entropy = F.binary_cross_entropy_with_logits(margins, reference, reduction="none")
    return margins.sigmoid(), entropy, reference, patches.valid[sample, 0]


def slow_cells(patches: Patches, cells: Tensor) -> Tensor:
    losses = []
    for sample, label, number in each(patches, cells):
        probability, entropy, reference, valid = of_class(patches, sample, label)
        inside = (cells[sample, label] == number) & valid
        if inside.any():
            losses.append(entropy[inside].mean() - dice(probability[inside], reference[inside]))
    return torch.stack(losses).mean()


def slow_bicc(patches: Patches, alpha: float) -> Tensor:
    found = slow_cells(patches, cells_of(patches.predicted))
    return (1 - alpha) * slow_cells(patches, patches.cells) + alpha * found


def slow_blob(patches: Patches) -> Tensor:
    losses = []
    for sample, label, number in each(patches, patches.cells):
        probability, entropy, reference, valid = of_class(patches, sample, label)
        others = reference.bool() & (patches.cells[sample, label] != number)
        counted = valid & ~others
        losses.append(entropy[counted].mean() - dice(probability[counted], reference[counted]))
    return torch.stack(losses).mean()


def slow_tversky(patches: Patches) -> Tensor:
    losses = []
    for sample in range(2):
        for label in range(patches.margins.shape[1]):
            probability, _, reference, valid = of_class(patches, sample, label)
            weights = torch.full_like(probability, 0.1)
            for number in patches.cells[sample, label].unique().tolist():
                lesion = reference.bool() & (patches.cells[sample, label] == number)
                weights[lesion] = 1 / (int(lesion.sum()) + 5)
            weights = weights * valid
            hit = (weights * probability * reference).sum()
            wrong, missed = (
                (weights * probability * (1 - reference)).sum(),
                (weights * (1 - probability) * reference).sum(),
            )
            losses.append(1 - (hit + SMOOTH) / (hit + 0.3 * wrong + 0.7 * missed + SMOOTH))
    return torch.stack(losses).mean()


SLOW = {
    "CC-DiceCE": lambda patches: slow_bicc(patches, 0),
    "BiCC": lambda patches: slow_bicc(patches, 0.25),
    "predicted cells": lambda patches: slow_bicc(patches, 1),
    "blob loss": slow_blob,
    "component-adaptive Tversky": slow_tversky,
}


@every_term
@pytest.mark.parametrize("shape", [(14, 17), (7, 8, 6)])
@pytest.mark.parametrize("seed", range(3))
def test_values_and_gradients_are_those_of_a_loop_over_lesions(name, shape, seed):
    patches = random_patches(shape, seed)
    found, expected = value(TERMS[name], patches), SLOW[name](patches)
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(loss, patches.margins)[0] for loss in (found, expected)]
    assert gradients[1].any()
    torch.testing.assert_close(*gradients)


def test_cc_dice_ce_by_hand():
    """Two lesions of 1 and 2 voxels in a row of 8; the cells are the left and the right half."""
    reference = torch.tensor([[0, 1, 0, 0, 0, 0, 1, 1]])
    probability = torch.tensor([[0.5, 0.5, 0.5, 0.5, 0.2, 0.2, 0.8, 0.8]])
    patches = binary(probability, reference)
    assert patches.cells.flatten().tolist() == [1, 1, 1, 1, 2, 2, 2, 2]
    left = math.log(2) - 2 * 0.5 / (2 + 1)
    right = -math.log(0.8) - 2 * 1.6 / (2 + 2)
    assert value(BiCC(alpha=0), patches).item() == pytest.approx((left + right) / 2, abs=1e-4)


def test_cells_of_the_prediction_by_hand():
    """One lesion is found and a false positive beside it has a cell of its own, without a lesion."""
    reference = torch.tensor([[1, 1, 0, 0, 0, 0, 0, 0]])
    probability = torch.tensor([[0.9, 0.9, 0.1, 0.1, 0.1, 0.1, 0.6, 0.6]])
    patches = binary(probability, reference)
    cells = cells_of(patches.predicted).flatten().tolist()
    assert cells == [1, 1, 1, 1, 2, 2, 2, 2]
    found = -math.log(0.9) - 2 * 1.8 / (2.0 + 2)
    wrong = (-2 * math.log(0.9) - 2 * math.log(0.4)) / 4
    assert value(BiCC(alpha=1), patches).item() == pytest.approx((found + wrong) / 2, abs=1e-4)
    # All of the reference is one cell, in which the false positive counts too.
    alone = (-6 * math.log(0.9) - 2 * math.log(0.4)) / 8 - 2 * 1.8 / (1.8 + 0.4 + 1.2 + 2)
    assert value(BiCC(alpha=0), patches).item() == pytest.approx(alone, abs=1e-4)
    assert value(BiCC(alpha=0.25), patches).item() == pytest.approx(0.75 * alone + 0.25 * (found + wrong) / 2, abs=1e-4)


def test_blob_loss_by_hand():
    reference = torch.tensor([[1, 0, 0, 1, 1]])
    probability = torch.tensor([[0.5, 0.2, 0.2, 0.8, 0.8]])
    small = (math.log(2) - 2 * math.log(0.8)) / 3 - 2 * 0.5 / (0.9 + 1)
    large = -math.log(0.8) - 2 * 1.6 / (2.0 + 2)
    assert value(BlobLoss(), binary(probability, reference)).item() == pytest.approx((small + large) / 2, abs=1e-4)


def test_component_tversky_by_hand():
    reference = torch.tensor([[1, 0, 0, 1, 1]])
    probability = torch.tensor([[0.5, 0.2, 0.2, 0.8, 0.8]])
    hit, missed, wrong = 0.5 / 6 + 1.6 / 7, 0.5 / 6 + 0.4 / 7, 0.1 * 0.4
    expected = 1 - hit / (hit + 0.3 * wrong + 0.7 * missed)
    found = value(ComponentTversky(), binary(probability, reference)).item()
    assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", ["CC-DiceCE", "BiCC", "blob loss"])
def test_a_perfect_prediction_has_the_least_loss(name):
    reference = torch.zeros(12, 12)
    reference[2, 2], reference[7:10, 6:9] = 1, 1
    perfect = value(TERMS[name], binary((reference * 2 - 1).mul(12).sigmoid(), reference))
    assert perfect.item() == pytest.approx(-1, abs=0.01)


@pytest.mark.parametrize("name", ["CC-DiceCE", "blob loss", "component-adaptive Tversky"])
def test_a_missed_lesion_pulls_as_strongly_whatever_its_size(name):
    """Without the term, the pull of Dice on a lesion grows as its size; here it is the same up to a small factor."""
    pulls = []
    for size in (2, 8):
        reference = torch.zeros(64, 64)
        reference[8 : 8 + size, 8 : 8 + size] = 1
        reference[40:56, 40:56] = 1
        margins = torch.where(reference.bool(), -3.0, -9.0)
        margins[40:56, 40:56] = 9
        margins = margins[None, None].requires_grad_()
        masks = reference.bool()[None, None]
        patches = Patches(margins, margins.detach() > 0, masks, cells_of(masks), None)
        gradient = torch.autograd.grad(value(TERMS[name], patches), margins)[0][0, 0]
        pulls.append(-gradient[8 : 8 + size, 8 : 8 + size].sum().item())
    assert min(pulls) > 0
    assert max(pulls) / min(pulls) < 2.5  # the larger lesion has 16 times as many voxels


@every_term
def test_a_patch_of_background_is_finite_and_pulls_nothing_up(name):
    margins = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    nothing = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    patches = Patches(margins, margins.detach() > 0, nothing, cells_of(nothing), None)
    loss = value(TERMS[name], patches)
    assert torch.isfinite(loss)
    gradient = torch.autograd.grad(loss, margins, allow_unused=True)[0] if loss.requires_grad else None
    assert gradient is None or bool((torch.isfinite(gradient) & (gradient >= -1e-6)).all())


@every_term
def test_ignored_voxels_have_no_gradient(name):
    patches = random_patches((10, 12), seed=4)
    gradient = torch.autograd.grad(value(TERMS[name], patches), patches.margins)[0]
    assert not gradient[~patches.valid.expand_as(gradient)].any()


def test_classes_are_compared_with_the_rest():
    logits = torch.randn(2, 4, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    target = torch.arange(60).reshape(2, 1, 5, 6) % 5
    cells = torch.zeros(2, 3, 5, 6)
    patches = patches_of(logits.float(), target, cells, regions=False, ignore_label=4)
    torch.testing.assert_close(patches.margins.sigmoid(), logits.softmax(1)[:, 1:].float())
    assert torch.equal(patches.valid, target != 4)
    assert torch.equal(patches.reference.sum(1, keepdim=True).bool(), (target > 0) & (target < 4))
    assert torch.equal(patches.predicted.any(1), logits.argmax(1) > 0)


def test_regions_are_compared_each_for_itself():
    logits = torch.randn(2, 2, 5, 6, generator=torch.Generator().manual_seed(0))
    target = torch.rand(2, 3, 5, 6, generator=torch.Generator().manual_seed(1)) > 0.5
    patches = patches_of(logits, target, torch.zeros(2, 2, 5, 6), regions=True, ignore_label=9)
    assert torch.equal(patches.margins, logits)
    assert torch.equal(patches.reference, target[:, :2])
    assert torch.equal(patches.valid, ~target[:, 2:])


@pytest.mark.parametrize("alpha", [-0.1, 1.1, math.nan])
def test_alpha_has_a_range(alpha):
    with pytest.raises(ValueError, match=rf"alpha of BiCC is {alpha}: give a number from 0, .* to 1"):
        BiCC(alpha)


@every_term
def test_half_precision_is_widened(name):
    logits = torch.full((1, 2, 6, 6), 0.0, dtype=torch.float16)
    logits[:, 1, 2, 2] = 40_000
    target = torch.zeros(1, 1, 6, 6)
    target[0, 0, 4, 4] = 1
    loss = InstanceLoss(lambda *_: torch.zeros(()), TERMS[name], weight=1.0, regions=False, ignore_label=None)
    found = loss(logits.requires_grad_(), [target, cells_of(target == 1)])
    assert found.dtype == torch.float32
    assert torch.isfinite(found)
