"""Learning rate over the epochs: a short linear warm-up, then one cosine to the end of the training."""

import math

from torch.optim import Optimizer


def learning_rate_factor(epoch: int, num_epochs: int, warmup_epochs: int) -> float:
    """Factor of the initial learning rate in an epoch.

    After the warm-up it is half a cosine from 1 towards 0, which it would reach one epoch after the last (Loshchilov
    and Hutter 2017, eq. 5, without restarts). In VM-UNet's code, with T_max = 50 in 300 epochs, the rate rises to its
    maximum again; that is not reproduced.

    Args:
        epoch: the epoch about to start, from 0.
        num_epochs: epochs of the whole training.
        warmup_epochs: epochs of the linear rise, which are part of `num_epochs`.
    """
    if epoch < warmup_epochs:
        return (epoch + 1) / (warmup_epochs + 1)
    return (1 + math.cos(math.pi * (epoch - warmup_epochs) / (num_epochs - warmup_epochs))) / 2


class WarmupCosineSchedule:
    """Sets the learning rate of an optimizer from the number of the epoch only, so that resuming needs no state.

    Args:
        optimizer: all its parameter groups get the same rate.
        initial_lr: highest rate, reached after the warm-up.
        num_epochs: epochs of the whole training.
        max_warmup_epochs: longest warm-up; it never takes more than a tenth of the training.
    """

    def __init__(self, optimizer: Optimizer, *, initial_lr: float, num_epochs: int, max_warmup_epochs: int) -> None:
        self.optimizer = optimizer
        self.initial_lr = initial_lr
        self.num_epochs = num_epochs
        self.warmup_epochs = min(max_warmup_epochs, num_epochs // 10)

    def step(self, epoch: int) -> None:
        """Set the rate for an epoch, counted from 0; nnU-Net calls this before each."""
        lr = self.initial_lr * learning_rate_factor(epoch, self.num_epochs, self.warmup_epochs)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
