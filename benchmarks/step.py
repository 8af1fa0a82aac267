"""``python -m benchmarks.step [--3d]``: one training step against nnU-Net's own U-Net, and where the time goes.

The setting is nnU-Net's 2-D plan for 256x256 colour images: batch 2, 3 channels, 2 classes, deep supervision with
nnU-Net's loss, gradients, clipping and optimizer step, float32 on the CPU. With ``--3d`` it is nnU-Net's plan for the
hippocampus of the Medical Segmentation Decathlon: patches of 40x56x40, batch 2, 1 channel, 3 classes.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
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

ROUNDS = 3

# What torch's profiler calls things, in words of this project; the first match counts.
KINDS = {
    "selective scan": ("nnunetv2_mamba::grid_scan",),
    "optimizer and clipping": ("adamw", "_foreach", "clip_grad"),
    "convolution": ("conv",),
    "matrix products (projections)": ("mm", "linear", "matmul"),
    "normalisation": ("norm",),
}


@dataclass(frozen=True)
class Setting:
    """What nnU-Net plans for a dataset, and what our networks make of it.

    Attributes:
        size: of a patch.
        channels: of the image.
        classes: of the logits.
        unet_features: widths of nnU-Net's U-Net; its strides are all 2.
        features_per_stage: widths of our networks.
        batch: size of a batch.
        target: highest ratio of S3-Mamba's time to the U-Net's that we accept, where there is one.
    """

    size: tuple[int, ...]
    channels: int
    classes: int
    unet_features: tuple[int, ...]
    features_per_stage: tuple[int, ...]
    batch: int = 2
    target: float | None = None

    def networks(self) -> dict[str, nn.Module]:
        """New networks by name, nnU-Net's own first."""
        conv_op, norm_op = {2: (nn.Conv2d, nn.InstanceNorm2d), 3: (nn.Conv3d, nn.InstanceNorm3d)}[len(self.size)]
        n_stages, n_levels = len(self.unet_features), len(self.features_per_stage)
        unet = PlainConvUNet(
            self.channels, n_stages, self.unet_features, conv_op, 3, (1, *[2] * (n_stages - 1)), 2, self.classes, 2,
            conv_bias=True, norm_op=norm_op, norm_op_kwargs={"eps": 1e-5, "affine": True},
            nonlin=nn.LeakyReLU, nonlin_kwargs={"inplace": True}, deep_supervision=True,
        )  # fmt: skip
        strides, blocks = (1, 4, *[2] * (n_levels - 1)), [2] * n_levels
        ours = (self.channels, self.classes, self.features_per_stage, strides, blocks, [*blocks[1:], 1], conv_op)
        return {
            "PlainConvUNet": unet,
            "VMUNet": VMUNet(*ours, side_heads=True, deep_supervision=True),
            "S3Mamba": S3Mamba(*ours, deep_supervision=True),
        }


SETTINGS = {
    "step": Setting((256, 256), 3, 2, (32, 64, 128, 256, 512, 512, 512), (96, 192, 384, 768), target=3.0),
    "step_3d": Setting((40, 56, 40), 1, 3, (32, 64, 128, 256), (96, 192)),
}


def training_step(network: nn.Module, setting: Setting) -> Callable[[], None]:
    """A function that makes one step on always the same batch."""
    shape = (setting.batch, setting.channels, *setting.size)
    image = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
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


def measure(setting: Setting) -> dict[str, Any]:
    """Seconds of a step, ratio to nnU-Net's U-Net, parameters, and shares of the time."""
    networks = setting.networks()
    steps = {name: training_step(network, setting) for name, network in networks.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(ROUNDS):
        for name, step in steps.items():
            seconds[name].append(fastest(step, 2))
    best = {name: min(values) for name, values in seconds.items()}
    return {
        name: {
            "seconds": best[name],
            "over_plain_conv_unet": best[name] / best["PlainConvUNet"],
            "parameters": sum(p.numel() for p in networks[name].parameters()),
            "shares": shares(step),
        }
        for name, step in steps.items()
    }


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--3d", dest="name", action="store_const", const="step_3d", default="step")
    name = parser.parse_args().name
    results = measure(SETTINGS[name])
    rows = [("network", "parameters", "seconds", "over PlainConvUNet")]
    for network, figures in results.items():
        ratio = f"{figures['over_plain_conv_unet']:.2f}"
        rows.append((network, f"{figures['parameters']:,}", f"{figures['seconds']:.3f}", ratio))
    for kind in [*KINDS, "elementwise, copies and the rest"]:
        share = results["S3Mamba"]["shares"][kind]
        rows.append((f"  S3Mamba: {kind}", "", f"{share * results['S3Mamba']['seconds']:.3f}", f"{share:.0%}"))
    report(name, {"setting": asdict(SETTINGS[name]), "networks": results}, rows)


if __name__ == "__main__":
    main()
