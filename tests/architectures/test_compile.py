"""nnU-Net compiles its networks by default: one graph, without breaks, same results."""

import pytest
import torch
from torch import nn

from nnunetv2_mamba.architectures import S3Mamba
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


@pytest.mark.compile
@pytest.mark.filterwarnings("ignore")  # of torch's compiler about itself
@pytest.mark.parametrize(("conv_op", "dtype"), [(nn.Conv2d, torch.float16), (nn.Conv3d, torch.bfloat16)])
def test_is_one_graph_under_autocast_too(conv_op, dtype):
    """Traced and differentiated, but not translated to C++, which takes most of the time and knows nothing of us."""
    # What it has seen of other networks would make it take every size for a variable.
    torch._dynamo.reset()
    torch.manual_seed(0)
    axes = 2 if conv_op is nn.Conv2d else 3
    strides = ((1,) * axes, (4,) * axes, (2,) * axes)
    blocks = {"n_blocks_per_stage": 1, "n_blocks_per_stage_decoder": 1}
    network = S3Mamba(1, 2, (8, 16), strides, conv_op=conv_op, deep_supervision=True, **blocks)
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    with torch.autocast("cpu", dtype):
        outputs = compiled(torch.randn(2, 1, *(16,) * axes))
    sum(output.float().square().mean() for output in outputs).backward()
    assert all(p.grad.isfinite().all() for p in network.parameters())
