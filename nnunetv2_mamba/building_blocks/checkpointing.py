"""Activation checkpointing: less memory kept for the backward pass, which computes a second time what is missing."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def checkpointed(function: Callable[..., Tensor], *inputs: Any, enabled: bool) -> Tensor:
    """Call a function of which the backward pass, where there is one, knows the inputs only.

    Source: Training deep nets with sublinear memory cost, arXiv 1604.06174.

    Args:
        function: a module, a method of one, or either with some arguments fixed. In the second call random numbers are
            the same, and what it does to the module's buffers, such as the averages of batch norm, is undone.
        inputs: what it is called with.
        enabled: False is a plain call.
    """
    if not (enabled and torch.is_grad_enabled()):
        return function(*inputs)
    if torch.compiler.is_compiling() and not _breaks_graphs(_module_of(function)):
        # The compiler knows that what changes state belongs to the forward pass.
        return checkpoint(function, *inputs, use_reentrant=False)
    return _checkpointed_outside_of_graphs(function, *inputs)


@torch.compiler.disable
def _checkpointed_outside_of_graphs(function: Callable[..., Tensor], *inputs: Any) -> Tensor:
    return checkpoint(function, *inputs, use_reentrant=False, context_fn=partial(_contexts, function))


def _breaks_graphs(module: nn.Module | None) -> bool:
    """Whether torch.compile gives up on it, and would run the checkpoint eagerly after all."""
    return module is not None and any(isinstance(part, nn.SyncBatchNorm) for part in module.modules())


def _module_of(function: Callable[..., Tensor]) -> nn.Module | None:
    """The module that a function is, or is a method of."""
    while isinstance(function, partial):
        function = function.func
    owner = function if isinstance(function, nn.Module) else getattr(function, "__self__", None)
    return owner if isinstance(owner, nn.Module) else None


def _contexts(function: Callable[..., Tensor]) -> tuple[AbstractContextManager, AbstractContextManager]:
    """What the first and the second call run in."""
    return nullcontext(), _buffers_restored(function)


@contextmanager
def _buffers_restored(function: Callable[..., Tensor]) -> Iterator[None]:
    module = _module_of(function)
    buffers = [] if module is None else list(module.buffers())
    before = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        for buffer, value in zip(buffers, before, strict=True):
            buffer.copy_(value)


class BlockSequence(nn.Sequential):
    """Blocks of one resolution, one after the other.

    Args:
        blocks: the blocks.
        checkpointed: whether the blocks are under activation checkpointing. Each block runs again on its own, so that
            the activations of one block only are in memory at a time.
    """

    def __init__(self, *blocks: nn.Module, checkpointed: bool = False) -> None:
        super().__init__(*blocks)
        self.checkpointed = checkpointed

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, *spatial, C) in, the same shape out."""
        for block in self:
            x = checkpointed(block, x, enabled=self.checkpointed and self.training)
        return x

    def compute_conv_feature_map_size(self, tokens: int) -> int:
        """Feature-map elements kept for the backward pass of one sample of so many tokens."""
        sizes = [block.compute_conv_feature_map_size(tokens) for block in self]
        if self.checkpointed:
            # An identity keeps nothing either way.
            return sum(min(size, tokens * block.channels) for size, block in zip(sizes, self, strict=True))
        return sum(sizes)

    def recomputed_feature_map_size(self, tokens: int) -> int:
        """Feature-map elements that activation checkpointing computes again at a time, inputs of the blocks aside."""
        if not self.checkpointed:
            return 0
        sizes = [block.compute_conv_feature_map_size(tokens) - tokens * block.channels for block in self]
        return max(sizes, default=0)
