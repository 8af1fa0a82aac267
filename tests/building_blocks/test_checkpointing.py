"""What is computed a second time leaves no second trace."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from nnunetv2_mamba.building_blocks.checkpointing import checkpointed


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 3), nn.BatchNorm1d(3))

    def forward(self, x: Tensor, shift: float = 0.0) -> Tensor:
        return self.norms(x + shift).square()

    def nested(self, x: Tensor) -> Tensor:
        return checkpointed(self.forward, x, enabled=True)


@pytest.mark.parametrize("form", ["module", "method", "partial", "nested"])
def test_batch_norm_sees_each_batch_once(form):
    results = []
    for enabled in (False, True):
        torch.manual_seed(0)
        module, x = Normed(), torch.randn(5, 3, requires_grad=True)
        forms = {"module": module, "method": module.forward, "nested": module.nested}
        function = forms.get(form) or partial(partial(module.forward, shift=0.0))
        for _ in range(2):
            checkpointed(function, x, enabled=enabled).sum().backward()
        gradients = [x.grad, *(parameter.grad for parameter in module.parameters())]
        results.append([*gradients, *module.buffers()])
        assert module.norms[0].num_batches_tracked == 2
    assert all(torch.equal(*pair) for pair in zip(*results, strict=True))


class Synchronised(nn.SyncBatchNorm):
    """As nnU-Net's on several GPUs: torch.compile gives up on it. What one process computes is plain batch norm."""

    @torch.compiler.disable
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, True, self.momentum, self.eps
        )


def test_so_it_does_where_torch_compile_gives_up_on_the_norm():
    results = []
    for compiled in (False, True):
        torch.manual_seed(0)
        norm, x = Synchronised(3), torch.randn(5, 3, requires_grad=True)
        module = nn.Sequential(nn.Linear(3, 3), norm)
        step = partial(checkpointed, module, enabled=True)
        for _ in range(2):
            (torch.compile(step, backend="eager") if compiled else step)(x).square().sum().backward()
        results.append([x.grad, *(parameter.grad for parameter in module.parameters()), *module.buffers()])
    assert all(torch.equal(*pair) for pair in zip(*results, strict=True))


def test_a_function_without_a_module_is_called_twice_too():
    calls = []

    def function(x: Tensor) -> Tensor:
        calls.append(x)
        return x.exp()

    x = torch.randn(3, requires_grad=True)
    y = checkpointed(function, x, enabled=True)
    y.sum().backward()
    assert len(calls) == 2
    assert torch.equal(x.grad, y)
