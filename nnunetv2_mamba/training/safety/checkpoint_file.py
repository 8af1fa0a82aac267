"""Checks a checkpoint before anything is loaded from it, so that a wrong file gives an error that says what to do."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch._dynamo import OptimizedModule
from torch.nn.parallel import DistributedDataParallel

from nnunetv2_mamba.architectures._contract import UShapedNetwork

REQUIRED = ("network_weights", "optimizer_state", "logging", "_best_ema", "current_epoch", "init_args", "trainer_name")
STOCK_KEYS = frozenset({*REQUIRED, "grad_scaler_state", "inference_allowed_mirroring_axes"})
"""Entries that nnU-Net itself writes."""


class CheckpointError(RuntimeError):
    """A checkpoint cannot be continued from; the message names the file, what is wrong and what to do."""


def require_checkpoint(
    path: str, trainer_name: str, *, network: nn.Module, optimizer: torch.optim.Optimizer
) -> Mapping[str, Any]:
    """Check that nnU-Net can load a checkpoint into a trainer that has this network and optimizer.

    Args:
        path: file that nnU-Net's trainer wrote.
        trainer_name: class of the trainer that will go on with it.
        network: network of the trainer, possibly compiled or wrapped for DDP.
        optimizer: optimizer of the trainer.

    Returns:
        The content of the file, tensors on the CPU and memory-mapped.

    Raises:
        CheckpointError: the file is unreadable or truncated, is not a checkpoint of nnU-Net, or is from another
            trainer, network or optimizer.
    """
    checkpoint = _read(path)
    advice = "restore the right file, or remove it to start again."
    missing = [key for key in REQUIRED if key not in checkpoint] if isinstance(checkpoint, Mapping) else REQUIRED
    if missing:
        raise CheckpointError(f"{path} is not an nnU-Net checkpoint, it lacks {', '.join(missing)}: {advice}")
    trained_by = checkpoint["trainer_name"]
    if trained_by != trainer_name:
        raise CheckpointError(
            f"{path} was written by {trained_by} and not by {trainer_name}: continue it with -tr {trained_by}, or give "
            "it to -pretrained_weights to start from its weights."
        )
    own, saved = bare_network(network), checkpoint["network_weights"]
    if difference := _difference(own.state_dict(), saved):
        raise CheckpointError(f"{path} is from another network ({_variants(own, saved)}{difference}): {advice}")
    if _layout(checkpoint["optimizer_state"]) != _layout(optimizer.state_dict()):
        raise CheckpointError(f"{path} is from another optimizer: {advice}")
    return checkpoint


def bare_network(network: nn.Module) -> nn.Module:
    """The network inside the wrappers of DDP and torch.compile."""
    if isinstance(network, DistributedDataParallel):
        network = network.module
    return network._orig_mod if isinstance(network, OptimizedModule) else network


def _read(path: str) -> Any:
    try:
        # Memory-mapped, so that the check needs no second copy of the weights. Unpickling adds no risk, because nnU-Net
        # unpickles the same file next.
        return torch.load(path, map_location="cpu", mmap=True, weights_only=False)
    except FileNotFoundError:
        raise
    # Unpickling a damaged file can raise almost any exception.
    except Exception as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise CheckpointError(
            f"{path} cannot be read, it may be truncated ({reason}): restore it, or remove it to start again."
        ) from error


def _difference(own: Mapping[str, torch.Tensor], saved: Mapping[str, torch.Tensor]) -> str | None:
    # nnU-Net strips the prefix of nn.DataParallel in the same way.
    saved = {key if key in own else key.removeprefix("module."): tensor for key, tensor in saved.items()}
    wrong = [
        key for key in {**own, **saved} if key not in own or key not in saved or own[key].shape != saved[key].shape
    ]
    if not wrong:
        return None
    key = wrong[0]
    return f"{len(wrong)} tensors differ, first {key}: {_shape(saved, key)} in the file, {_shape(own, key)} here"


def _variants(network: nn.Module, saved: Mapping[str, torch.Tensor]) -> str:
    """Variants of the file and the network, where these differ and the network tells them apart."""
    if not isinstance(network, UShapedNetwork):
        return ""
    variants = [network.variant_of(names) for names in (saved, network.state_dict())]
    return "" if variants[0] == variants[1] else "{} in the file and {} here, ".format(*variants)


def _shape(tensors: Mapping[str, torch.Tensor], key: str) -> str:
    return str(tuple(tensors[key].shape)) if key in tensors else "none"


def _layout(optimizer_state: Mapping[str, Any]) -> list[tuple[int, bool]]:
    # Not all keys of a group are compared, because newer torch versions add keys. Betas tell the Adam family from SGD.
    return [(len(group["params"]), "betas" in group) for group in optimizer_state["param_groups"]]
