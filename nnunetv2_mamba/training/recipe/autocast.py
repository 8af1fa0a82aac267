"""The dtype of autocast, set from outside because nnU-Net's training steps enter autocast without naming a dtype."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from nnunetv2_mamba.training.settings import AUTOCAST_VARIABLE, autocast_from_environment


def autocast_dtype(device: torch.device, axes: int) -> torch.dtype | None:
    """The dtype that the environment names; None leaves it to nnU-Net: float16 on CUDA, no autocast elsewhere.

    Args:
        device: device of the trainer.
        axes: number of axes of the patches, 2 or 3.

    Raises:
        ValueError: the environment names an unknown dtype, or one that the device does not support.
    """
    name = autocast_from_environment()
    if name is None:
        return None
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"{AUTOCAST_VARIABLE}={name} has no effect on {device.type}: unset it, or use cuda or cpu.")
    if device.type == "cuda" and name == "bfloat16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise ValueError(f"{torch.cuda.get_device_name()} has no bfloat16: unset {AUTOCAST_VARIABLE}={name}.")
    if device.type == "cpu" and name == "bfloat16" and axes == 3:
        # oneDNN leaves parts of a kernel's gradient unwritten where an axis has two positions; seen in PyTorch 2.15.
        raise ValueError(
            f"{AUTOCAST_VARIABLE}={name}: PyTorch's gradients of 3-D convolutions in {name} are wrong on the CPU: "
            "unset it."
        )
    return getattr(torch, name)


@contextmanager
def autocast_in(dtype: torch.dtype | None, device: torch.device) -> Iterator[None]:
    """Make nnU-Net compute in a dtype.

    On CUDA nnU-Net enters autocast itself, so only autocast's default dtype is changed. On the CPU nnU-Net does not use
    autocast, so it is entered here.

    Args:
        dtype: of matrix products and convolutions; None changes nothing.
        device: device of the trainer.
    """
    if dtype is None:
        yield
    elif device.type == "cpu":
        with torch.autocast("cpu", dtype):
            yield
    else:
        before = torch.get_autocast_dtype(device.type)
        torch.set_autocast_dtype(device.type, dtype)
        try:
            yield
        finally:
            torch.set_autocast_dtype(device.type, before)


def loss_in_float32(module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Forward pre-hook of a loss that converts its first argument, the logits, to float32.

    On CUDA, autocast itself converts them for softmax, logarithms and sums. On the CPU it does not.
    """
    logits, *others = arguments
    wide = [one.float() for one in logits] if isinstance(logits, list | tuple) else logits.float()
    return wide, *others
