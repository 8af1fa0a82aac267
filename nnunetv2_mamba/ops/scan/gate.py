"""The gate's derivative, for backends that apply it with torch."""

import torch
from torch import Tensor


def silu_slope(z: Tensor) -> Tensor:
    """Derivative of z * sigmoid(z)."""
    gate = torch.sigmoid(z)
    return gate * (1 + z * (1 - gate))
