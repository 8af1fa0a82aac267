"""nnU-Net compiles its networks by default: one graph, without breaks, same results."""

import pytest
import torch

from nnunetv2_mamba.architectures._registry import NETWORKS


@pytest.mark.compile
@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.filterwarnings("ignore")  # of torch's compiler about itself
def test_compiles_into_one_graph(name):
    torch.manual_seed(0)
    arguments = {"features_per_stage": (16, 32), "strides": (1, 4, 2), "drop_path_rate": 0.0, "deep_supervision": True}
    arguments |= {"n_blocks_per_stage": 1, "n_blocks_per_stage_decoder": 1}
    arguments |= {"side_heads": True} if name == "VMUNet" else {}
    network, x = NETWORKS[name](2, 3, **arguments), torch.randn(2, 2, 24, 30)
    results = []
    for run in (network, torch.compile(network, fullgraph=True)):
        network.zero_grad()
        outputs = run(x)
        sum(output.square().mean() for output in outputs).backward()
        results.append([*(output.detach() for output in outputs), *(p.grad.clone() for p in network.parameters())])
    for eager, compiled in zip(*results, strict=True):
        torch.testing.assert_close(compiled, eager, rtol=1e-3, atol=1e-5)
