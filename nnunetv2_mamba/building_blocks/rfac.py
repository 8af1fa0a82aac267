"""SA-UMamba's receptive-field attention convolution."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nnunetv2_mamba.building_blocks.batch_norm import BatchNorm
from nnunetv2_mamba.building_blocks.checkpointing import checkpointed
from nnunetv2_mamba.building_blocks.depthwise import depthwise_convolution
from nnunetv2_mamba.building_blocks.instance_norm import InstanceNorm
from nnunetv2_mamba.building_blocks.layout import channels_first, channels_last, spatial_dims
from nnunetv2_mamba.building_blocks.rfac_taps import TapByTap, mean_of_neighbourhood

KERNEL = 3
NORMS = {"batch": BatchNorm, "instance": InstanceNorm}
AT_ONCE = 2**24
"""Elements of all taps up to which devices other than the CPU make them at once, since they like few large steps."""


class RFAC(nn.Module):
    """Receptive-field attention convolution: a 3x3 convolution whose nine taps have other weights at every position.

    Per channel, nine features of the neighbourhood (depthwise convolution, norm, ReLU) are multiplied by their weights,
    a softmax over the nine of the neighbourhood's mean times a learned factor each; a linear map of all 9C, norm and
    ReLU follow. Published as a grid of thrice the size and a convolution of stride 3 over it; as each position belongs
    to one tap of one cell, that is this linear map. In 3-D there are 27 taps.

    Parameters are stored tap by tap, row-major in the kernel: first those of the first tap.

    Source: RFAConv, arXiv 2304.03198, in the form with group convolutions that SA-UMamba uses, doi
    10.1371/journal.pone.0325899. 9 C^2 + 111 C parameters in 2-D, 27 C^2 + 813 C in 3-D.

    Args:
        channels: C, width of input and output.
        conv_op: `nn.Conv2d` or `nn.Conv3d`.
        norm: ``"batch"`` as published, or ``"instance"``, which does not depend on the other samples of a batch.

    Raises:
        ValueError: another norm.
    """

    def __init__(self, channels: int, conv_op: type[nn.Module] = nn.Conv2d, norm: str = "batch") -> None:
        super().__init__()
        ndim = spatial_dims(conv_op)
        if norm not in NORMS:
            raise ValueError(f"the norm of RFAC is {norm!r}; use one of {', '.join(NORMS)}")
        make_norm = NORMS[norm]
        self.channels, self.ndim, self.taps = channels, ndim, KERNEL**ndim
        self.attention = nn.Parameter(torch.empty(self.taps, channels))
        self.kernels = nn.Parameter(torch.empty(self.taps * channels, 1, *(KERNEL,) * ndim))
        self.feature_norm = make_norm(self.taps * channels)
        self.weight = nn.Parameter(torch.empty(self.taps, channels, channels))
        self.bias = nn.Parameter(torch.empty(channels))
        self.norm = make_norm(channels)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """PyTorch's start of convolutions: uniform within one over the root of the number of inputs."""
        nn.init.uniform_(self.attention, -1, 1)
        for parameter, inputs in (
            (self.kernels, self.taps),
            (self.weight, self.taps * self.channels),
            (self.bias, self.taps * self.channels),
        ):
            nn.init.uniform_(parameter, -(inputs**-0.5), inputs**-0.5)
        for norm in (self.feature_norm, self.norm):
            nn.init.ones_(norm.weight)
            nn.init.zeros_(norm.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, *spatial, C) in, the same shape out, none of them negative."""
        if self._one_tap_at_a_time(x):
            y = self._tap_by_tap(x)
        else:
            y = checkpointed(self._all_taps, x, enabled=self.training)
        return channels_last(F.relu(self.norm(channels_first(y + self.bias))))

    def attention_weights(self, x: Tensor) -> Tensor:
        """Weight of each tap, (B, *spatial, taps, C), for tokens (B, *spatial, C); those of a position sum to 1."""
        return torch.softmax(mean_of_neighbourhood(x).unsqueeze(-2) * self.attention, -2)

    def compute_conv_feature_map_size(self, tokens: int) -> int:
        """Feature-map elements kept for the backward pass of one sample of so many tokens."""
        # Input, mean, normaliser of the softmax, and both sides of the last norm.
        return tokens * 5 * self.channels

    def _one_tap_at_a_time(self, x: Tensor) -> bool:
        """Whether `TapByTap` is used, which never has all taps in memory.

        The compiler fuses them itself. A norm over single samples, or over several processes, needs a pass of its own.
        """
        if torch.compiler.is_compiling() or not isinstance(self.feature_norm, BatchNorm):
            return False
        return x.device.type == "cpu" or x.numel() * self.taps > AT_ONCE

    def _all_taps(self, x: Tensor) -> Tensor:
        repeated = channels_first(x.repeat(*(1,) * (x.ndim - 1), self.taps))
        features = F.relu(self.feature_norm(depthwise_convolution(repeated, self.kernels)))
        weighted = channels_last(features).unflatten(-1, (self.taps, -1)) * self.attention_weights(x)
        return torch.matmul(weighted.flatten(-2).to(self.weight.dtype), self.weight.flatten(0, 1))

    def _tap_by_tap(self, x: Tensor) -> Tensor:
        norm, device = self.feature_norm, x.device.type
        wide = torch.promote_types(x.dtype, torch.float32)
        narrow = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else self.weight.dtype
        mean = inverse_std = None
        if not norm.training:
            mean, inverse_std = norm.running_mean.to(wide), torch.rsqrt(norm.running_var.to(wide) + norm.eps)
            mean, inverse_std = mean.view_as(self.attention), inverse_std.view_as(self.attention)
        scale, shift = (parameter.view_as(self.attention) for parameter in (norm.weight, norm.bias))
        kernels = self.kernels.unflatten(0, (self.taps, -1))
        tensors = [tensor.to(wide) for tensor in (x, self.attention, kernels, scale, shift)]
        y, mean, inverse_std = TapByTap.apply(*tensors, self.weight.to(narrow), mean, inverse_std, norm.eps)
        if norm.training:
            norm.update_averages(mean.flatten(), inverse_std.flatten(), x.numel() // self.channels)
        return y.to(x.dtype)
