"""Patch embedding, merging and expanding: how the resolution changes between the stages of a VSS network."""

from collections.abc import Sequence
from functools import partial
from math import prod

from torch import Tensor, nn

from nnunetv2_mamba.building_blocks.checkpointing import checkpointed
from nnunetv2_mamba.building_blocks.grid import fold
from nnunetv2_mamba.building_blocks.layout import channels_last, depth_to_space, pointwise, space_to_depth


class PatchEmbed(nn.Module):
    """Cut an image into patches, one token each: convolution with kernel = stride, then LayerNorm.

    Args:
        input_channels: channels of the image.
        channels: width of the tokens.
        stride: patch size per axis.
        conv_op: `nn.Conv2d` or `nn.Conv3d`.
    """

    def __init__(
        self, input_channels: int, channels: int, stride: Sequence[int], *, conv_op: type[nn.Module] = nn.Conv2d
    ) -> None:
        super().__init__()
        self.channels = channels
        self.proj = conv_op(input_channels, channels, tuple(stride), stride=tuple(stride))
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Image (B, input_channels, *spatial) to tokens (B, *spatial / stride, C)."""
        return self.norm(channels_last(self.proj(x)).contiguous())

    def compute_conv_feature_map_size(self, tokens: int) -> int:
        """Feature-map elements kept for the backward pass, for so many tokens out."""
        return tokens * self.channels


class PatchMerging(nn.Module):
    """Lower the resolution: each cell becomes one token of S * C channels, then LayerNorm and a linear map.

    Source: Swin Transformer, arXiv 2103.14030; channel order as in VMamba v0.

    Args:
        channels: C, width of the input.
        output_channels: width of the output, 2C in the published networks.
        stride: cell size per axis, S its product.
    """

    def __init__(self, channels: int, output_channels: int, stride: Sequence[int]) -> None:
        super().__init__()
        self.stride = tuple(stride)
        self.norm = nn.LayerNorm(prod(stride) * channels)
        self.reduction = nn.Linear(prod(stride) * channels, output_channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, *spatial, C) to (B, *spatial / stride, output_channels)."""
        return self.reduction(self.norm(space_to_depth(x, self.stride)))

    def compute_conv_feature_map_size(self, tokens: int) -> int:
        """Feature-map elements kept for the backward pass, for so many tokens out."""
        return tokens * 2 * self.reduction.in_features


class PatchExpand(nn.Module):
    """Raise the resolution: a linear map to S tokens per token, spread over a cell, then LayerNorm.

    Source: Swin-Unet, arXiv 2105.05537, as used by VM-UNet. With output_channels = C / 4 and the stride of the patch
    embedding it is VM-UNet's final expand.

    Args:
        channels: width of the input.
        output_channels: width of the output.
        stride: cell size per axis, S its product.
    """

    def __init__(self, channels: int, output_channels: int, stride: Sequence[int]) -> None:
        super().__init__()
        self.stride = tuple(stride)
        self.expand = nn.Linear(channels, prod(stride) * output_channels, bias=False)
        self.norm = nn.LayerNorm(output_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, *spatial, channels) to (B, *spatial * stride, output_channels)."""
        return self.norm(depth_to_space(self.expand(x), self.stride))

    def compute_conv_feature_map_size(self, tokens: int) -> int:
        """Feature-map elements kept for the backward pass, for so many tokens in."""
        return tokens * (self.expand.in_features + self.expand.out_features)


class FinalPatchExpand(PatchExpand):
    """From the finest tokens back to full resolution, at a quarter of their width but four channels at least.

    Source: VM-UNet, arXiv 2402.02491.

    Args:
        channels: C, width of the input.
        stride: stride of the patch embedding, undone here.
        checkpointed: whether `segment` is under activation checkpointing.
    """

    def __init__(self, channels: int, stride: Sequence[int], checkpointed: bool = False) -> None:
        # A norm over one channel is constant, over two a mere sign.
        super().__init__(channels, max(4, channels // 4), stride)
        self.output_channels = self.norm.normalized_shape[0]
        self.checkpointed = checkpointed

    def segment(self, x: Tensor, head: nn.Module) -> Tensor:
        """Logits that a 1x1 convolution makes of what `forward` returns.

        Norm and head look at one position at a time, so they come first, and only the few logits of each position have
        to be moved to where it is.

        Args:
            x: tokens (B, *spatial, channels).
            head: `nn.Conv2d` or `nn.Conv3d` from ``output_channels`` to the classes, with a kernel of one position.

        Returns:
            Tensor (B, classes, *spatial * stride).
        """
        return checkpointed(partial(self._segment, head=head), x, enabled=self.checkpointed and self.training)

    def compute_conv_feature_map_size(self, tokens: int) -> int:
        """Feature-map elements that `segment` keeps for the backward pass, for so many tokens in."""
        kept = tokens * self.expand.in_features
        return kept if self.checkpointed else kept + self._inner_size(tokens)

    def recomputed_feature_map_size(self, tokens: int) -> int:
        """Feature-map elements of `segment` that activation checkpointing computes again."""
        return self._inner_size(tokens) if self.checkpointed else 0

    def _inner_size(self, tokens: int) -> int:
        return 2 * tokens * (self.expand.out_features + prod(self.stride))

    def _segment(self, x: Tensor, head: nn.Module) -> Tensor:
        cells = self.norm(self.expand(x).unflatten(-1, (prod(self.stride), self.output_channels)))
        size = [length * step for length, step in zip(x.shape[1:-1], self.stride, strict=True)]
        return fold(pointwise(head, cells).flatten(1, -3), self.stride, size)
