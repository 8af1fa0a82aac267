"""AdamW's parameter groups and its clipping."""

import pytest
import torch
from torch import nn

from nnunetv2_mamba.training.optimizer import clipped_adamw, parameter_groups


class ScanLike(nn.Module):
    def __init__(self):
        super().__init__()
        self.in_proj = nn.Linear(4, 8)
        self.A_logs = nn.Parameter(torch.zeros(8, 16))
        self.Ds = nn.Parameter(torch.zeros(8))
        self.dt_projs_bias = nn.Parameter(torch.zeros(4, 8))
        self.frozen = nn.Parameter(torch.zeros(3, 3), requires_grad=False)
        self.norm = nn.LayerNorm(4)


def test_published_recipe_decays_everything():
    network = ScanLike()
    (group,) = parameter_groups(network, 0.01, decay_everything=True)
    assert group["weight_decay"] == 0.01
    assert {id(p) for p in group["params"]} == {id(p) for p in network.parameters() if p.requires_grad}


@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: nn.Sequential(m)], ids=["bare", "nested"])
def test_switch_spares_norms_biases_and_the_scan(wrap):
    network = ScanLike()
    decayed, spared = parameter_groups(wrap(network), 0.01, decay_everything=False)
    assert [id(p) for p in decayed["params"]] == [id(network.in_proj.weight)]
    assert len(spared["params"]) == 6
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.01, 0.0)


def test_gradient_is_clipped_to_the_norm_before_the_step():
    first, second = (nn.Parameter(torch.zeros(2)) for _ in range(2))
    optimizer = clipped_adamw([{"params": [first]}, {"params": [second]}], lr=0.1, max_grad_norm=1.0)
    first.grad, second.grad = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0])
    optimizer.step()
    torch.testing.assert_close(torch.cat([first.grad, second.grad]), torch.tensor([0.6, 0.0, 0.0, 0.8]))


def test_small_gradient_is_left_alone():
    parameter = nn.Parameter(torch.zeros(2))
    optimizer = clipped_adamw([{"params": [parameter]}], lr=0.1, max_grad_norm=1.0)
    parameter.grad = torch.tensor([0.3, 0.4])
    optimizer.step()
    torch.testing.assert_close(parameter.grad, torch.tensor([0.3, 0.4]))
