"""The residual blocks of VM-UNet, S3-Mamba and SA-UMamba."""

import torch
from torch import Tensor, nn

from nnunetv2_mamba.building_blocks.drop_path import DropPath
from nnunetv2_mamba.building_blocks.enhanced_channel_feature import EnCFBlock
from nnunetv2_mamba.building_blocks.mixers import find_mixer
from nnunetv2_mamba.building_blocks.rfac import RFAC


class VSSBlock(nn.Module):
    """x + DropPath(SSND(LayerNorm(x))), without a feed-forward part.

    Source: VMamba v0, arXiv 2401.10166, as used by VM-UNet, arXiv 2402.02491.

    Args:
        channels: C, width of input and output.
        conv_op: `nn.Conv2d` or `nn.Conv3d`.
        d_state: state size of the scan.
        drop_path_rate: probability that a sample skips the block's branch in training.
        depthwise_conv: see `GatedMixer`.
        mixer: what relates the tokens to each other, one of `MIXERS`; others than the scan are controls.
    """

    def __init__(
        self,
        channels: int,
        conv_op: type[nn.Module] = nn.Conv2d,
        d_state: int = 16,
        *,
        drop_path_rate: float = 0.0,
        depthwise_conv: bool = True,
        mixer: str = "scan",
    ) -> None:
        super().__init__()
        self.channels = channels
        self.ln_1 = nn.LayerNorm(channels)
        self.self_attention = find_mixer(mixer)(channels, conv_op, d_state, depthwise_conv=depthwise_conv)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, *spatial, C) in, the same shape out."""
        branch = self.self_attention(self.ln_1(x))
        factor = self.drop_path.factor(branch)
        return x + branch if factor is None else torch.addcmul(x, branch, factor)

    def compute_conv_feature_map_size(self, tokens: int) -> int:
        """Feature-map elements kept for the backward pass of one sample of so many tokens."""
        return tokens * self.channels + self.self_attention.compute_conv_feature_map_size(tokens)


class EnVSSBlock(VSSBlock):
    """x + DropPath(EnCF(SSND(LayerNorm(x)))), the scan without a depthwise convolution.

    Two residuals: the block's own, and the one inside `EnCFBlock`. Source: S3-Mamba, arXiv 2412.14546, fig. 2c; where
    exactly channel attention sits is our reading.

    Args:
        channels: C, width of input and output.
        conv_op: `nn.Conv2d` or `nn.Conv3d`.
        d_state: state size of the scan.
        drop_path_rate: probability that a sample skips the block's branch in training.
        depthwise_conv: see `GatedMixer`.
        mixer: what relates the tokens to each other, one of `MIXERS`; others than the scan are controls.
        channel_attention: whether `EnCFBlock` follows the scan.
        reduction: see `EnCFBlock`.
    """

    def __init__(
        self,
        channels: int,
        conv_op: type[nn.Module] = nn.Conv2d,
        d_state: int = 16,
        *,
        drop_path_rate: float = 0.0,
        depthwise_conv: bool = False,
        mixer: str = "scan",
        channel_attention: bool = True,
        reduction: int = 16,
    ) -> None:
        super().__init__(
            channels, conv_op, d_state, drop_path_rate=drop_path_rate, depthwise_conv=depthwise_conv, mixer=mixer
        )
        self.channel_attention = EnCFBlock(channels, reduction) if channel_attention else None

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, *spatial, C) in, the same shape out."""
        if self.channel_attention is None:
            return super().forward(x)
        branch = self.self_attention(self.ln_1(x))
        factor, kept = self.channel_attention.factor(branch), self.drop_path.factor(branch)
        return torch.addcmul(x, branch, factor if kept is None else factor * kept)

    def compute_conv_feature_map_size(self, tokens: int) -> int:
        """Feature-map elements kept for the backward pass of one sample of so many tokens."""
        size = super().compute_conv_feature_map_size(tokens)
        if self.channel_attention is not None:
            size += self.channel_attention.compute_conv_feature_map_size(tokens)
        return size


class RSSSBlock(VSSBlock):
    """y = s1 * x + DropPath(SSND(LayerNorm(x))), then s2 * y + RFAC(LayerNorm(y)); s1 and s2 are learned per channel.

    Source: SA-UMamba, doi 10.1371/journal.pone.0325899, fig. 1b; that drop path spares the second branch, its code.

    Args:
        channels: C, width of input and output.
        conv_op: `nn.Conv2d` or `nn.Conv3d`.
        d_state: state size of the scan.
        drop_path_rate: probability that a sample skips the scan in training.
        norm: see `RFAC`.
        mixer: what relates the tokens to each other, one of `MIXERS`; others than the scan are controls.
    """

    def __init__(
        self,
        channels: int,
        conv_op: type[nn.Module] = nn.Conv2d,
        d_state: int = 16,
        *,
        drop_path_rate: float = 0.0,
        norm: str = "batch",
        mixer: str = "scan",
    ) -> None:
        super().__init__(channels, conv_op, d_state, drop_path_rate=drop_path_rate, mixer=mixer)
        self.skip_scale = nn.Parameter(torch.ones(channels))
        self.ln_2 = nn.LayerNorm(channels)
        self.rfac = RFAC(channels, conv_op, norm)
        self.skip_scale2 = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, *spatial, C) in, the same shape out."""
        branch = self.drop_path(self.self_attention(self.ln_1(x)))
        x = torch.addcmul(branch, x, self.skip_scale)
        return torch.addcmul(self.rfac(self.ln_2(x)), x, self.skip_scale2)

    def compute_conv_feature_map_size(self, tokens: int) -> int:
        """Feature-map elements kept for the backward pass of one sample of so many tokens."""
        kept = super().compute_conv_feature_map_size(tokens) + tokens * self.channels
        return kept + self.rfac.compute_conv_feature_map_size(tokens)
