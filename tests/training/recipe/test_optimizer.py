"""AdamW's parameter groups."""

import pytest
import torch
from torch import nn

from nnunetv2_mamba.building_blocks.mamba import Mamba
from nnunetv2_mamba.training.recipe.optimizer import parameter_groups


class ScanLike(nn.Module):
    no_weight_decay = frozenset({"A_logs", "Ds", "dt_projs_bias"})

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


def test_switch_spares_what_mamba_ssm_marks_and_decays_the_maps():
    layer = Mamba(8, 4)
    decayed, _ = parameter_groups(layer, 0.01, decay_everything=False)
    maps = (layer.in_proj, layer.conv1d, layer.x_proj, layer.dt_proj, layer.out_proj)
    assert {id(p) for p in decayed["params"]} == {id(linear.weight) for linear in maps}
