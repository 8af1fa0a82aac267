"""The N-D form of VMamba's 2-D selective scan module."""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nnunetv2_mamba.building_blocks.gated_mixer import GatedMixer
from nnunetv2_mamba.building_blocks.init import init_scan_parameters
from nnunetv2_mamba.building_blocks.layout import channels_first, channels_last
from nnunetv2_mamba.building_blocks.precision import without_autocast
from nnunetv2_mamba.ops import cross_selective_scan
from nnunetv2_mamba.ops.scan.contract import CHUNK


class SSND(GatedMixer):
    """SS2D of VMamba v0 on grids of any dimension: a gated selective scan in 2 * ndim directions, summed.

    Parameters carry VMamba's names and shapes, with its K = 4 directions generalised to K = 2 * ndim: each axis is the
    innermost one once, walked both ways, all forward walks first. Every projection is pointwise and hence computed
    once, in grid order, for all directions. Source: VMamba, arXiv 2401.10166, sec. 4.2; the N-D form is an
    extension of this package.

    Args:
        channels: C, width of input and output.
        conv_op: `nn.Conv2d` or `nn.Conv3d`; sets the number of spatial axes.
        d_state: N, state size of each of the 2C inner channels.
        depthwise_conv: whether a 3x3 depthwise convolution precedes the scan; without it SiLU follows in_proj.
    """

    no_weight_decay: ClassVar = frozenset({"A_logs", "Ds", "dt_projs_bias"})
    """Own parameters for which a value near zero does not mean "small": log decay rates, skip gains, log step sizes."""

    def __init__(
        self, channels: int, conv_op: type[nn.Module] = nn.Conv2d, d_state: int = 16, *, depthwise_conv: bool = True
    ) -> None:
        super().__init__(channels, conv_op, d_state, depthwise_conv=depthwise_conv)
        directions, inner = self.directions, self.d_inner
        self.x_proj_weight = nn.Parameter(torch.empty(directions, self.dt_rank + 2 * self.d_state, inner))
        self.dt_projs_weight = nn.Parameter(torch.empty(directions, inner, self.dt_rank))
        self.dt_projs_bias = nn.Parameter(torch.empty(directions, inner))
        self.A_logs = nn.Parameter(torch.empty(directions * inner, self.d_state))
        self.Ds = nn.Parameter(torch.empty(directions * inner))
        nn.init.uniform_(self.x_proj_weight, -(inner**-0.5), inner**-0.5)
        init_scan_parameters(dt_weight=self.dt_projs_weight, dt_bias=self.dt_projs_bias, A_log=self.A_logs, D=self.Ds)

    def mix(self, u: Tensor) -> Tensor:
        """Sum of the directional scans of u (B, *spatial, 2C), each with its own projections; float32 at least."""
        batch, *spatial, inner = u.shape
        directions, d_state = self.directions, self.d_state
        projected = F.linear(u.reshape(batch, -1, inner), self.x_proj_weight.flatten(0, 1))
        low_rank, B, C = projected.unflatten(-1, (directions, -1)).split([self.dt_rank, d_state, d_state], dim=-1)
        # The op answers in the dtype of u, and the sum over directions can leave the range of float16.
        u = u.to(torch.promote_types(u.dtype, torch.float32))
        # Step sizes are exponentiated at every step of the scan, so that rounding them to 16 bits would add up.
        with without_autocast(u.device):
            # (B, K, L, D): the scan reads this largest of its inputs with the channel fastest.
            delta = torch.matmul(low_rank.transpose(1, 2).to(u.dtype), self.dt_projs_weight.transpose(1, 2).to(u.dtype))
        y = cross_selective_scan(
            channels_first(u),
            delta.transpose(2, 3).unflatten(-1, spatial),
            A=-torch.exp(self.A_logs.to(u.dtype)).unflatten(0, (directions, inner)),
            B=B.permute(0, 2, 3, 1).unflatten(-1, spatial),
            C=C.permute(0, 2, 3, 1).unflatten(-1, spatial),
            D=self.Ds.unflatten(0, (directions, inner)),
            delta_bias=self.dt_projs_bias,
            delta_softplus=True,
        )
        return channels_last(y)

    def compute_conv_feature_map_size(self, tokens: int) -> int:
        """Feature-map elements kept for the backward pass of one sample of so many tokens, scan states included."""
        inner, directions = self.d_inner, self.directions
        scanned = directions * (2 * self.dt_rank + 2 * self.d_state + inner) + inner
        states = directions * math.ceil(tokens / CHUNK) * self.d_state * inner
        return super().compute_conv_feature_map_size(tokens) + tokens * scanned + states
