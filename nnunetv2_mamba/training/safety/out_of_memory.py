"""If a training step runs out of memory, one sentence says how much it needs and what helps."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import nn

from nnunetv2_mamba.ops.passing import is_out_of_memory

GIB = 2**30


class TrainingOutOfMemoryError(RuntimeError):
    """There is not enough memory for a training step; the message says how much it needs and what helps."""


@contextmanager
def out_of_memory_explained(explain: Callable[[], str]) -> Iterator[None]:
    """Replace an exception that is raised where memory runs out.

    Args:
        explain: returns the message; called only after such an exception.

    Raises:
        TrainingOutOfMemoryError: memory could not be allocated inside the block.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingOutOfMemoryError(explain()) from error


def activations_in_gib(network: nn.Module, patch_size: Sequence[int], batch_size: int) -> float | None:
    """Estimate the activations that a network keeps for the backward pass of a batch, in GiB of float32.

    Args:
        network: its method ``compute_conv_feature_map_size``, which nnU-Net's planners use, counts the elements.
        patch_size: of a sample, in voxels.
        batch_size: samples in a step.

    Returns:
        None for a network without this method.
    """
    count = getattr(network, "compute_conv_feature_map_size", None)
    return None if count is None else 4 * batch_size * count(tuple(patch_size)) / GIB


def describe_need(trainer: nnUNetTrainer, network: nn.Module) -> str:
    """The memory that a training step needs and that the GPU has, as the start of a sentence.

    Args:
        trainer: trainer of the step.
        network: without the wrappers of DDP and torch.compile.
    """
    patch_size = trainer.configuration_manager.patch_size
    batch = f"a batch of {trainer.batch_size} patches of {'x'.join(map(str, patch_size))}"
    name = type(network).__name__
    gib = activations_in_gib(network, patch_size, trainer.batch_size)
    needed = f"{name} with {batch}" if gib is None else f"{name} keeps about {gib:.1f} GiB (as float32) of {batch}"
    if trainer.device.type != "cuda":
        return needed
    total = torch.cuda.get_device_properties(trainer.device).total_memory / GIB
    return f"{needed}, and the GPU has {total:.1f} GiB"
