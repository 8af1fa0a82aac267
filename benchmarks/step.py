"""``python -m benchmarks.step``: one training step against nnU-Net's own U-Net, and where the time goes.

The setting is nnU-Net's 2-D plan for 256x256 colour images: batch 2, 3 channels, 2 classes, deep supervision with
nnU-Net's loss, gradients, clipping and optimizer step, float32 on the CPU.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.profiler import ProfilerActivity, profile

from benchmarks.machine import fastest, report
from nnunetv2_mamba.architectures import S3Mamba, VMUNet

BATCH, CHANNELS, CLASSES, SIZE = 2, 3, 2, 256
ROUNDS = 3

# What torch's profiler calls things, in words of this project; the first match counts.
KINDS = {
    "selective scan": ("nnunetv2_mamba::grid_scan",),
    "optimizer and clipping": ("adamw", "_foreach", "clip_grad"),
    "convolution": ("conv",),
    "matrix products (projections)": ("mm", "linear", "matmul"),
    "normalisation": ("norm",),
}


def plain_conv_unet() -> nn.Module:
    """nnU-Net's network for a 256x256 patch."""
    features = (32, 64, 128, 256, 512, 512, 512)
    return PlainConvUNet(
        CHANNELS, len(features), features, nn.Conv2d, 3, (1, *[2] * (len(features) - 1)), 2, CLASSES, 2,
        conv_bias=True, norm_op=nn.InstanceNorm2d, norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU, nonlin_kwargs={"inplace": True}, deep_supervision=True,
    )  # fmt: skip


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "PlainConvUNet": plain_conv_unet,
    "VMUNet": partial(VMUNet, CHANNELS, CLASSES, side_heads=True, deep_supervision=True),
    "S3Mamba": partial(S3Mamba, CHANNELS, CLASSES, deep_supervision=True),
}


def training_step(network: nn.Module) -> Callable[[], None]:
    """A function that makes one step on always the same batch."""
    image = torch.randn(BATCH, CHANNELS, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    target = (image[:, :1] > 1).float()
    outputs = network.train()(image)
    targets = [interpolate(target, output.shape[2:]) for output in outputs]
    loss = _loss(len(outputs))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss(network(image), targets).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 12)
        optimizer.step()

    return step


def _loss(outputs: int) -> Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]:
    weights = [0.5**level for level in range(outputs - 1)] + [0.0]
    dice = {"batch_dice": True, "smooth": 1e-5, "do_bg": False, "ddp": False}
    single = DC_and_CE_loss(dice, {}, dice_class=MemoryEfficientSoftDiceLoss)
    return DeepSupervisionWrapper(single, [weight / sum(weights) for weight in weights])


def shares(step: Callable[[], None]) -> dict[str, float]:
    """Fraction of a step's CPU time by kind of operation."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        step()
    seconds = dict.fromkeys([*KINDS, "elementwise, copies and the rest"], 0.0)
    for event in profiler.key_averages():
        name = event.key.lower()
        kind = next((kind for kind, words in KINDS.items() if any(word in name for word in words)), None)
        seconds[kind or "elementwise, copies and the rest"] += event.self_cpu_time_total
    total = sum(seconds.values())
    return {kind: value / total for kind, value in seconds.items()}


def measure() -> dict[str, Any]:
    """Seconds of a step, ratio to nnU-Net's U-Net, parameters, and shares of the time."""
    steps = {name: training_step(make()) for name, make in NETWORKS.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(ROUNDS):
        for name, step in steps.items():
            seconds[name].append(fastest(step, 2))
    best = {name: min(values) for name, values in seconds.items()}
    return {
        name: {
            "seconds": best[name],
            "over_plain_conv_unet": best[name] / best["PlainConvUNet"],
            "parameters": sum(p.numel() for p in NETWORKS[name]().parameters()),
            "shares": shares(step),
        }
        for name, step in steps.items()
    }


def main() -> None:
    """Measure and report."""
    argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0]).parse_args()
    results = measure()
    rows = [("network", "parameters", "seconds", "over PlainConvUNet")]
    for name, figures in results.items():
        ratio = f"{figures['over_plain_conv_unet']:.2f}"
        rows.append((name, f"{figures['parameters']:,}", f"{figures['seconds']:.3f}", ratio))
    for kind in [*KINDS, "elementwise, copies and the rest"]:
        share = results["S3Mamba"]["shares"][kind]
        rows.append((f"  S3Mamba: {kind}", "", f"{share * results['S3Mamba']['seconds']:.3f}", f"{share:.0%}"))
    setting = {"batch": BATCH, "channels": CHANNELS, "classes": CLASSES, "size": SIZE}
    report("step", {"setting": setting, "target": {"S3Mamba": 3.0}, "networks": results}, rows)


if __name__ == "__main__":
    main()
