"""What surrounds the scan in a VSS block, and two controls that put something else in the scan's place."""

import math

from torch import Tensor, nn
from torch.nn import functional as F

from nnunetv2_mamba.building_blocks.depthwise import depthwise_convolution
from nnunetv2_mamba.building_blocks.layout import channels_first, channels_last, spatial_dims


class GatedMixer(nn.Module):
    """(LayerNorm(mix(SiLU(conv(x W_u)))) * SiLU(x W_z)) W_o; subclasses say how ``mix`` relates the tokens.

    Parameters carry the names of VMamba v0. Source: VMamba, arXiv 2401.10166, sec. 4.2, where ``mix`` is the scan.

    Args:
        channels: C, width of input and output.
        conv_op: `nn.Conv2d` or `nn.Conv3d`; sets the number of spatial axes.
        d_state: N, state size of each of the 2C inner channels of the scan.
        depthwise_conv: whether a 3x3 depthwise convolution precedes ``mix``; without it SiLU follows in_proj.
    """

    def __init__(
        self, channels: int, conv_op: type[nn.Module] = nn.Conv2d, d_state: int = 16, *, depthwise_conv: bool = True
    ) -> None:
        super().__init__()
        self.channels = channels
        self.d_inner = inner = 2 * channels
        self.d_state = d_state
        self.dt_rank = math.ceil(channels / 16)
        self.directions = 2 * spatial_dims(conv_op)
        self.in_proj = nn.Linear(channels, 2 * inner, bias=False)
        # The name says 2d in any dimension: it is VMamba's, and pretrained weights are matched by name.
        self.conv2d = conv_op(inner, inner, 3, padding=1, groups=inner) if depthwise_conv else None
        self.out_norm = nn.LayerNorm(inner)
        self.out_proj = nn.Linear(inner, channels, bias=False)

    def mix(self, u: Tensor) -> Tensor:
        """Relate the inner tokens u (B, *spatial, 2C) to each other; same shape out, in a floating-point dtype."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Mix the tokens x (B, *spatial, C); same shape out."""
        u, z = self.in_proj(x).chunk(2, dim=-1)
        if self.conv2d is not None:
            u = channels_last(depthwise_convolution(channels_first(u), self.conv2d.weight, self.conv2d.bias))
        y = self.mix(F.silu(u))
        # Normalised in the dtype of y, which may be wider than the weights': out_norm itself would refuse that.
        weight, bias = self.out_norm.weight.to(y.dtype), self.out_norm.bias.to(y.dtype)
        gated = F.layer_norm(y, y.shape[-1:], weight, bias, self.out_norm.eps) * F.silu(z)
        return self.out_proj(gated.to(self.out_proj.weight.dtype))

    def compute_conv_feature_map_size(self, tokens: int) -> int:
        """Feature-map elements kept for the backward pass of one sample of so many tokens."""
        return tokens * (self.channels + (7 if self.conv2d is not None else 6) * self.d_inner)


class GatedIdentity(GatedMixer):
    """A block without its scan: no token sees another one, except through the depthwise convolution if there is one."""

    def mix(self, u: Tensor) -> Tensor:
        """The tokens as they are."""
        return u


class GatedConvolution(GatedMixer):
    """A depthwise convolution in the place of the scan, with about as many parameters.

    Its kernel is as large along each axis, odd, and has as many weights as the scan of that width has parameters, or
    the next number below.
    """

    def __init__(
        self, channels: int, conv_op: type[nn.Module] = nn.Conv2d, d_state: int = 16, *, depthwise_conv: bool = True
    ) -> None:
        super().__init__(channels, conv_op, d_state, depthwise_conv=depthwise_conv)
        per_channel = self.directions * (2 * (self.dt_rank + self.d_state) + self.d_state + 2)
        size = math.floor(per_channel ** (1 / spatial_dims(conv_op)))
        size -= 1 - size % 2
        self.mixing_conv = conv_op(self.d_inner, self.d_inner, size, padding=size // 2, groups=self.d_inner)

    def mix(self, u: Tensor) -> Tensor:
        """Convolve the tokens (B, *spatial, 2C); same shape out."""
        return channels_last(self.mixing_conv(channels_first(u)))
