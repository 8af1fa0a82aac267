"""Reads a file of unknown origin without running code from it."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nnunetv2_mamba.pretrained.vmamba import WeightsError

ENTRIES = ("model", "model_ema")
"""Entries in which VMamba saves its state dict. The first one is usual; in released files it has averaged weights."""


@dataclass(frozen=True)
class CheckpointFile:
    """The tensors of a checkpoint file.

    Attributes:
        path: the file.
        state: its tensors by name.
        entry: entry of the file that contains them; None if the file itself is a state dict.
    """

    path: Path
    state: dict[str, Tensor]
    entry: str | None

    def sha256(self) -> str:
        """Hash of the file's bytes, in hexadecimal."""
        digest = hashlib.sha256()
        with self.path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
        return digest.hexdigest()


def read_checkpoint(path: Path) -> CheckpointFile:
    """The state dict of a file, on the CPU, read with ``weights_only=True``.

    Args:
        path: file written by `torch.save`: a dict with an entry of `ENTRIES`, or a state dict.

    Raises:
        WeightsError: the file is missing, damaged, holds more than weights, or has no state dict.
    """
    content = _load(path)
    entry = next(
        (key for key in ENTRIES if isinstance(content, Mapping) and isinstance(content.get(key), Mapping)), None
    )
    state = content if entry is None else content[entry]
    if not isinstance(state, Mapping):
        raise WeightsError(
            f"{path} holds a {type(state).__name__} and not a state dict: give the file of a checkpoint."
        )
    # nn.DataParallel and DDP prefix every name.
    tensors = {str(name).removeprefix("module."): value for name, value in state.items() if isinstance(value, Tensor)}
    return CheckpointFile(path, tensors, entry)


def _load(path: Path) -> Any:
    if not path.is_file():
        raise WeightsError(f"{path} does not exist or is not a file: give the path of a VMamba checkpoint.")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    # Reading a file that is not a checkpoint can raise almost any exception.
    except Exception as error:
        # Torch's message about other objects mostly explains how to unpickle them anyway.
        foreign = re.search(r"GLOBAL ([\w.]+)", str(error))
        reason = f"it asks for {foreign[1]}" if foreign else " ".join(str(error).split()).partition(". ")[0].rstrip(".")
        raise WeightsError(
            f"{path} cannot be read as plain weights, it is damaged or holds other objects ({reason}): download it "
            "again or, if you trust it, save its state dict alone in a new file."
        ) from error
