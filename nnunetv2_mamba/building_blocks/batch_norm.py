"""Batch normalisation that also takes a single value, and averages that statistics from elsewhere can move."""

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm


class BatchNorm(_BatchNorm):
    """PyTorch's batch norm for (B, C, *spatial) of any dimension.

    In training, a single value per channel becomes the bias, where PyTorch's own raises: the coarsest level of a small
    patch has just one. `nn.SyncBatchNorm.convert_sync_batchnorm`, which nnU-Net calls on several GPUs, replaces it.

    Args:
        channels: C.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x (B, C, *spatial)."""
        if self.training and x.numel() == x.shape[1]:
            shape = (-1, *(1,) * (x.ndim - 2))
            return (x - x) * self.weight.view(shape) + self.bias.view(shape)
        return super().forward(x)

    @torch.no_grad()
    def update_averages(self, mean: Tensor, inverse_std: Tensor, count: int) -> None:
        """Move the running averages as `forward` does.

        Args:
            mean: of a batch, (C,).
            inverse_std: of the batch, (C,), eps included.
            count: values per channel.
        """
        if count < 2:
            return
        variance = (inverse_std.pow(-2) - self.eps).clamp_(min=0) * (count / (count - 1))
        self.num_batches_tracked += 1
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(variance.to(self.running_var.dtype), share)

    def _check_input_dim(self, x: Tensor) -> None:
        pass
