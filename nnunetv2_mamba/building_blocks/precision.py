"""Where half precision must not reach, whatever autocast says."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def without_autocast(device: torch.device) -> AbstractContextManager:
    """Switches autocast off for a while; nothing where it is off, since some devices have none to switch."""
    return torch.autocast(device.type, enabled=False) if torch.is_autocast_enabled(device.type) else nullcontext()


def at_least_float32(tensor: Tensor) -> Tensor:
    """The tensor, in float32 where it has half precision."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
