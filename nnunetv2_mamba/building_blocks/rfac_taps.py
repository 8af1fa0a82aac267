"""The features of `RFAC`, made and used one tap after the other, in both passes."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from nnunetv2_mamba.building_blocks.depthwise import depthwise_convolution, depthwise_gradients
from nnunetv2_mamba.building_blocks.layout import channels_first, channels_last
from nnunetv2_mamba.building_blocks.pooling import average_pool
from nnunetv2_mamba.building_blocks.precision import without_autocast


def mean_of_neighbourhood(x: Tensor) -> Tensor:
    """Mean over 3x3 positions of tokens x (B, *spatial, C), zeros beyond the border; its own transpose."""
    ndim = x.ndim - 2
    # On the CPU, PyTorch has no 3-D pooling of axes that are shorter than the kernel unpadded.
    padded = F.pad(x, (0, 0, *(1, 1) * ndim))
    return channels_last(average_pool(channels_first(padded), (3,) * ndim, (1,) * ndim))


class TapByTap(torch.autograd.Function):
    """Sum over taps of a linear map of softmax * ReLU(norm(depthwise convolution)); nothing wider than C at a time.

    All T taps together are T times as wide as the input. So the forward pass keeps none of them, and the backward pass
    makes each of them again: for that, all but the linear map is cheap.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        attention: Tensor,
        kernels: Tensor,
        scale: Tensor,
        shift: Tensor,
        weight: Tensor,
        mean: Tensor | None,
        inverse_std: Tensor | None,
        eps: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the sum.

        Args:
            ctx: keeps what the backward pass needs.
            x: tokens (B, *spatial, C).
            attention: (T, C), factors of the neighbourhood's mean inside of the softmax.
            kernels: (T, C, 1, 3, 3) or (T, C, 1, 3, 3, 3).
            scale: (T, C), weight of the norm.
            shift: (T, C), bias of the norm.
            weight: (T, C, output channels), of the linear map; its dtype is that of the products.
            mean: (T, C), by which features are normalised; None: that of the batch.
            inverse_std: (T, C), likewise.
            eps: added to the variance of the batch.

        Returns:
            Tensor (B, *spatial, output channels), and the mean and inverse standard deviation, (T, C) each.
        """
        ctx.batch_statistics, ctx.eps = mean is None or inverse_std is None, eps
        if mean is None or inverse_std is None:
            mean, inverse_std = torch.empty_like(scale), torch.empty_like(scale)
        with without_autocast(x.device):
            pooled = mean_of_neighbourhood(x).flatten(0, -2)
            normaliser = _negative_logsumexp(pooled, attention)
            y = x.new_zeros(len(pooled), weight.shape[-1])
            for tap, kernel in enumerate(kernels):
                features = _tokens(depthwise_convolution(channels_first(x), kernel))
                if ctx.batch_statistics:
                    features, mean[tap], inverse_std[tap] = torch.native_batch_norm(
                        features, scale[tap], shift[tap], None, None, True, 0.0, eps
                    )
                else:
                    features = _normalised(
                        features, mean=mean[tap], scale=inverse_std[tap] * scale[tap], shift=shift[tap]
                    )
                features.relu_().mul_(_softmax(pooled, attention[tap], normaliser))
                _accumulate_product(y, features, weight[tap])
        ctx.save_for_backward(x, pooled, normaliser, attention, kernels, scale, shift, weight, mean, inverse_std)
        ctx.mark_non_differentiable(mean, inverse_std)
        return y.unflatten(0, x.shape[:-1]), mean, inverse_std

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients with respect to the first six arguments of `forward`."""
        x, pooled, normaliser, attention, kernels, scale, shift, weight, mean, inverse_std = ctx.saved_tensors
        gradients = [torch.empty_like(parameter) for parameter in (attention, kernels, scale, shift, weight)]
        d_attention, d_kernels, d_scale, d_shift, d_weight = gradients
        with without_autocast(x.device):
            d_y = gradient.flatten(0, -2).to(weight.dtype)
            d_x, total, mixed, expected = (torch.zeros_like(pooled) for _ in range(4))
            for tap, kernel in enumerate(kernels):
                features = _tokens(depthwise_convolution(channels_first(x), kernel))
                active = _normalised(
                    features, mean=mean[tap], scale=inverse_std[tap] * scale[tap], shift=shift[tap]
                ).relu_()
                share = _softmax(pooled, attention[tap], normaliser)
                weighted = active * share
                d_weight[tap] = weighted.to(weight.dtype).T @ d_y
                d_weighted = (d_y @ weight[tap].T).to(x.dtype)
                # With s the shares: the softmax passes on s * (d_s - sum of s * d_s), whose sum is known in the end.
                weighted.mul_(d_weighted)
                total += weighted
                mixed.addcmul_(weighted, attention[tap])
                expected.addcmul_(share, attention[tap])
                d_attention[tap] = weighted.mul_(pooled).sum(0)
                d_active = torch.ops.aten.threshold_backward(d_weighted.mul_(share), active, 0)
                statistics = (mean[tap], inverse_std[tap], ctx.eps, ctx.batch_statistics)
                d_features, d_scale[tap], d_shift[tap] = _norm_gradients(d_active, features, scale[tap], *statistics)
                d_features = channels_first(d_features.view(x.shape))
                d_input, d_kernels[tap] = depthwise_gradients(d_features, channels_first(x), kernel)
                d_x += _tokens(d_input)
            d_pooled = mixed.addcmul_(total, expected, value=-1)
            total.mul_(pooled)
            for tap in range(len(kernels)):
                d_attention[tap] -= _softmax(pooled, attention[tap], normaliser).mul_(total).sum(0)
            d_x = d_x.view(x.shape).add_(mean_of_neighbourhood(d_pooled.view(x.shape)))
        return d_x, *gradients, None, None, None


def _tokens(x: Tensor) -> Tensor:
    """(B, C, *spatial) as (tokens, C)."""
    return channels_last(x).flatten(0, -2)


def _negative_logsumexp(pooled: Tensor, attention: Tensor) -> Tensor:
    """Of the products of the means (tokens, C) with the factors of all taps (T, C)."""
    # The largest product is that with the largest or the smallest factor.
    largest = torch.maximum(pooled * attention.amax(0), pooled * attention.amin(0)).neg_()
    total = torch.zeros_like(pooled)
    for factor in attention:
        total += _softmax(pooled, factor, largest)
    return largest.sub_(total.log_())


def _softmax(pooled: Tensor, factor: Tensor, normaliser: Tensor) -> Tensor:
    return torch.addcmul(normaliser, pooled, factor).exp_()


def _normalised(features: Tensor, mean: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return torch.addcmul(shift - mean * scale, features, scale)


def _norm_gradients(
    gradient: Tensor,
    features: Tensor,
    scale: Tensor,
    mean: Tensor,
    inverse_std: Tensor,
    eps: float,
    batch_statistics: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """With respect to features (tokens, C), weight and bias of the norm."""
    given = (None, None) if batch_statistics else (mean, inverse_std.pow(-2) - eps)
    return torch.ops.aten.native_batch_norm_backward(
        gradient, features, scale, *given, mean, inverse_std, batch_statistics, eps, [True, True, True]
    )


def _accumulate_product(total: Tensor, x: Tensor, weight: Tensor) -> None:
    if x.dtype == weight.dtype:
        total.addmm_(x, weight)
    else:
        total += x.to(weight.dtype) @ weight
