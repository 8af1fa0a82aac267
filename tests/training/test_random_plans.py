"""Law: whatever nnU-Net plans, our trainers build a network for it, and a stock training step runs on it.

Sizes, strides, channels and labels are random; plans, labels, targets, loss and step are nnU-Net's own objects.
"""

from dataclasses import dataclass
from itertools import product
from math import prod
from typing import ClassVar

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nnunetv2_mamba.trainers.nnUNetTrainerSegMamba import nnUNetTrainerSegMamba
from nnunetv2_mamba.trainers.nnUNetTrainerVMUNet import nnUNetTrainerVMUNet
from nnunetv2_mamba.trainers.nnUNetTrainerVMUNet_EnCF_TCMA import nnUNetTrainerVMUNet_EnCF_TCMA

MAX_TOKENS = 600
"""Scan length that keeps an example quick; larger images teach nothing new here."""


class TinyVMUNetTrainer(nnUNetTrainerVMUNet):
    network_overrides: ClassVar = {"features_per_stage": (4, 8, 8, 8), "d_state": 1}


class TinyS3MambaTrainer(nnUNetTrainerVMUNet_EnCF_TCMA):
    network_overrides: ClassVar = {"features_per_stage": (4, 8, 8, 8), "d_state": 1, "reduction": 2}


class TinySegMambaTrainer(nnUNetTrainerSegMamba):
    network_overrides: ClassVar = {
        "features_per_stage": (4, 4, 8, 8, 8),
        "n_blocks_per_stage": 1,
        "n_blocks_per_stage_decoder": 1,
    }


@dataclass(frozen=True)
class Planned:
    strides: tuple[tuple[int, ...], ...]
    patch_size: tuple[int, ...]
    n_channels: int
    dataset_json: dict

    @property
    def patch_embed(self) -> tuple[int, ...]:
        return tuple(prod(axis) for axis in zip(*self.strides[:3], strict=True))


@st.composite
def labelled(draw: st.DrawFn) -> dict:
    n_classes = draw(st.integers(2, 12))
    foreground = range(1, n_classes)
    if n_classes > 2 and draw(st.booleans()):
        labels = {f"region{i}": [*range(i, n_classes)] if i < n_classes - 1 else i for i in foreground}
        dataset_json = {"labels": {"background": 0, **labels}, "regions_class_order": [*foreground]}
    else:
        dataset_json = {"labels": {"background": 0, **{f"label{i}": i for i in foreground}}}
    if draw(st.booleans()):
        dataset_json["labels"]["ignore"] = n_classes
    return dataset_json


@st.composite
def plans(draw: st.DrawFn) -> Planned:
    dim = draw(st.sampled_from([2, 3]))
    some_axis_halved = [stride for stride in product((1, 2), repeat=dim) if max(stride) > 1]
    strides = ((1,) * dim, *draw(st.lists(st.sampled_from(some_axis_halved), max_size=6)))
    # A patch has at least one position at the coarsest output, or nnU-Net itself cannot make a target of its size.
    coarsest = [prod(axis) for axis in zip(*strides[: min(max(len(strides) - 1, 3), 5)], strict=True)]
    patch_size = tuple(draw(st.integers(max(4, least), 41 if dim == 2 else 17)) for least in coarsest)
    return Planned(strides, patch_size, draw(st.integers(1, 5)), draw(labelled()))


def padded_tokens(planned: Planned) -> int:
    total = [prod(axis) for axis in zip(*planned.strides[:6], strict=True)]
    padded = [-(-size // step) * step for size, step in zip(planned.patch_size, total, strict=True)]
    return prod(size // embed for size, embed in zip(padded, planned.patch_embed, strict=True))


@pytest.mark.parametrize("trainer_class", [TinyVMUNetTrainer, TinyS3MambaTrainer])
@settings(max_examples=75, suppress_health_check=[HealthCheck.too_slow])
@given(planned=plans().filter(lambda planned: padded_tokens(planned) <= MAX_TOKENS))
def test_a_stock_step_runs_on_any_plan(make_trainer, trainer_class, planned):
    # The patch embedding replaces three stages, and there are four levels at most.
    check_a_stock_step(make_trainer, trainer_class, planned, n_outputs=max(1, min(len(planned.strides) - 2, 4)))


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(planned=plans().filter(lambda planned: prod(planned.patch_size) <= 2 * MAX_TOKENS))
def test_so_it_does_with_the_stages_of_the_plan(make_trainer, planned):
    stages = min(len(planned.strides), len(TinySegMambaTrainer.network_overrides["features_per_stage"]))
    check_a_stock_step(make_trainer, TinySegMambaTrainer, planned, n_outputs=max(1, stages - 1))


def check_a_stock_step(make_trainer, trainer_class: type, planned: Planned, n_outputs: int) -> None:
    trainer = make_trainer(
        trainer_class, planned.strides, planned.patch_size, planned.n_channels, **planned.dataset_json
    )
    trainer.initialize()
    labels = trainer.label_manager
    image = torch.randn(planned.n_channels, *planned.patch_size)
    highest = labels.ignore_label or labels.all_labels[-1]
    segmentation = torch.randint(0, int(highest) + 1, (1, *planned.patch_size), dtype=torch.int16)
    transforms = trainer.get_validation_transforms(
        trainer._get_deep_supervision_scales(),
        regions=labels.foreground_regions if labels.has_regions else None,
        ignore_label=labels.ignore_label,
    )
    samples = [transforms(image=image, segmentation=segmentation) for _ in range(2)]
    targets = [s["segmentation"] for s in samples]
    deep = trainer.enable_deep_supervision
    batch = {
        "data": torch.stack([s["image"] for s in samples]),
        "target": [torch.stack(t) for t in zip(*targets, strict=True)] if deep else torch.stack(targets),
        "keys": ["case", "case"],
    }

    outputs = trainer.network(batch["data"])
    pairs = list(zip(outputs, batch["target"], strict=True)) if deep else [(outputs, batch["target"])]
    assert deep == (n_outputs > 1)
    assert len(pairs) == n_outputs
    assert pairs[0][0].shape[2:] == planned.patch_size
    for output, target in pairs:
        assert output.shape[:2] == (2, labels.num_segmentation_heads)
        assert output.shape[2:] == target.shape[2:]
    assert torch.isfinite(torch.as_tensor(trainer.train_step(batch)["loss"]))
    assert torch.isfinite(torch.as_tensor(trainer.validation_step(batch)["loss"]))

    trainer.set_deep_supervision_enabled(False)
    trainer.network.eval()
    assert trainer.network(image[None]).shape == (1, labels.num_segmentation_heads, *planned.patch_size)
