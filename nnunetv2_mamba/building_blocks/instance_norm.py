"""Instance normalisation that also takes grids of a single position."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def instance_normalise(x: Tensor) -> Tensor:
    """Give every sample and channel of x (B, C, *spatial) zero mean and unit variance over space.

    A single position becomes 0, where `torch.nn.functional.instance_norm` raises: the coarsest level of a small patch
    has just one.
    """
    flat = x.flatten(2)
    return F.layer_norm(flat, flat.shape[-1:]).reshape(x.shape)


class InstanceNorm(nn.Module):
    """`instance_normalise` with a learnable weight and bias per channel.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x (B, C, *spatial)."""
        if x.shape[2:].numel() == 1:
            return self.scale(instance_normalise(x))
        if x.device.type == "cpu" and x.is_contiguous():
            # Several times as fast there; channels last it would subtract large sums from each other. On a GPU autocast
            # would make it return float32.
            return torch.group_norm(x, x.shape[1], self.weight, self.bias)
        return F.instance_norm(x, weight=self.weight, bias=self.bias)

    def scale(self, normalised: Tensor) -> Tensor:
        """What follows the normalisation of (B, C, *spatial): a factor and a shift for each channel."""
        shape = (-1, *(1,) * (normalised.ndim - 2))
        return torch.addcmul(self.bias.view(shape), normalised, self.weight.view(shape))
