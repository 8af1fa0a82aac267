"""The Mamba-1 layer, and the layer of it that SegMamba puts behind its convolutions."""

import math
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from nnunetv2_mamba.building_blocks.init import init_scan_parameters
from nnunetv2_mamba.building_blocks.layout import channels_first, channels_last
from nnunetv2_mamba.building_blocks.precision import at_least_float32, without_autocast
from nnunetv2_mamba.ops import causal_conv1d, selective_scan
from nnunetv2_mamba.ops.scan.contract import CHUNK

MAX_STATE = 256
"""Largest state that mamba_ssm's kernel takes, and hence SegMamba's."""


class Mamba(nn.Module):
    """The Mamba-1 layer: a gated selective scan along a sequence, behind a short causal convolution.

    Parameters carry the names and shapes of `mamba_ssm.Mamba`. Source: Mamba, arXiv 2312.00752, sec. 3.4.

    Args:
        channels: C, width of input and output.
        d_state: N, state size of each of the inner channels.
        d_conv: width of the causal convolution.
        expand: inner channels per channel of the input.
    """

    no_weight_decay: ClassVar = frozenset({"A_log", "D"})
    """Own parameters for which a value near zero does not mean "small", as mamba_ssm marks them."""

    def __init__(self, channels: int, d_state: int = 16, *, d_conv: int = 4, expand: int = 2) -> None:
        super().__init__()
        self.channels = channels
        self.d_inner = expand * channels
        self.d_state = d_state
        self.dt_rank = math.ceil(channels / 16)
        inner = self.d_inner
        self.in_proj = nn.Linear(channels, 2 * inner, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, d_conv, padding=d_conv - 1, groups=inner)
        self.x_proj = nn.Linear(inner, self.dt_rank + 2 * d_state, bias=False)
        self.dt_proj = nn.Linear(self.dt_rank, inner)
        self.A_log = nn.Parameter(self.dt_proj.weight.new_empty(inner, d_state))
        self.D = nn.Parameter(self.dt_proj.weight.new_empty(inner))
        self.out_proj = nn.Linear(inner, channels, bias=False)
        init_scan_parameters(dt_weight=self.dt_proj.weight, dt_bias=self.dt_proj.bias, A_log=self.A_log, D=self.D)

    def forward(self, x: Tensor) -> Tensor:
        """Mix the tokens x (B, L, C), each with those before it; same shape out."""
        # Two products, since the halves of one would be copied before everything that wants its rows side by side.
        u, z = (F.linear(x, weight).transpose(1, 2) for weight in self.in_proj.weight.chunk(2))
        u = causal_conv1d(u, self.conv1d.weight.squeeze(1), self.conv1d.bias, activation="silu")
        projected = self.x_proj(u.transpose(1, 2))
        low_rank, B, C = projected.split([self.dt_rank, self.d_state, self.d_state], dim=-1)
        # Step sizes are exponentiated at every step of the scan, so that rounding them to 16 bits would add up.
        u, low_rank, weight = (at_least_float32(tensor) for tensor in (u, low_rank, self.dt_proj.weight))
        with without_autocast(u.device):
            delta = F.linear(low_rank, weight)
        y = selective_scan(
            u,
            delta.transpose(1, 2),
            A=-at_least_float32(self.A_log).exp(),
            B=B.transpose(1, 2),
            C=C.transpose(1, 2),
            D=self.D,
            z=z,
            delta_bias=self.dt_proj.bias,
            delta_softplus=True,
        )
        return self.out_proj(y.transpose(1, 2).to(self.out_proj.weight.dtype))

    def compute_conv_feature_map_size(self, tokens: int) -> int:
        """Feature-map elements kept for the backward pass of one sample of so many tokens, scan states included."""
        inner = self.d_inner
        projected = self.dt_rank + 2 * self.d_state
        states = math.ceil(tokens / CHUNK) * self.d_state * inner
        return tokens * (self.channels + 5 * inner + projected) + states


class MambaTrans(nn.Module):
    """A Mamba layer and a linear map, each behind a LayerNorm and with a residual.

    Source: Taming Mambas for Voxel Level 3D Medical Image Segmentation, arXiv 2410.15496, and its code.

    Args:
        channels: C, width of input and output.
        d_state: see `Mamba`.
    """

    def __init__(self, channels: int, d_state: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(channels)
        self.mamba = Mamba(channels, d_state)
        self.ln_2 = nn.LayerNorm(channels)
        self.head = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, L, C) in, the same shape out."""
        x = x + self.mamba(self.ln_1(x))
        return x + self.head(self.ln_2(x))

    def compute_conv_feature_map_size(self, tokens: int) -> int:
        """Feature-map elements kept for the backward pass of one sample of so many tokens."""
        return tokens * 3 * self.head.in_features + self.mamba.compute_conv_feature_map_size(tokens)


class MambaLayer(nn.Module):
    """MambaTrans(LayerNorm(x)) over the positions of a grid, the last axis fastest.

    There is no residual around it, and the tokens are normalised twice, here and in `MambaTrans`: what leaves it when
    Mamba and the linear map are zero is LayerNorm(x), as in the published network. Source: as of `MambaTrans`.

    Args:
        channels: C, width of input and output; the state size is as large, up to `MAX_STATE`.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.norm = nn.LayerNorm(channels)
        self.mixer = MambaTrans(channels, min(channels, MAX_STATE))

    def forward(self, x: Tensor) -> Tensor:
        """Grid (B, C, *spatial) in, the same shape out."""
        tokens = self.mixer(self.norm(channels_last(x).flatten(1, -2)))
        # Convolutions and norms would copy it anyway, and more than once; and autocast's norms may have widened it.
        return channels_first(tokens.unflatten(1, x.shape[2:])).to(x.dtype).contiguous()

    def compute_conv_feature_map_size(self, tokens: int) -> int:
        """Feature-map elements kept for the backward pass of one sample of so many tokens, its output included."""
        return tokens * self.channels + self.mixer.compute_conv_feature_map_size(tokens)
