"""nnU-Net compiles its networks by default: one graph, without breaks, same results."""

import pytest
import torch
from torch import nn

from nnunetv2_mamba.architectures import S3Mamba, VMUNet
from tests.architectures.small_networks import small_network


@pytest.mark.compile
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch's compiler about itself
def test_compiles_into_one_graph():
    torch._dynamo.reset()
    torch.manual_seed(0)
    # With a depthwise convolution it has the parts of all networks. One level and one scale of TCMA are like more, and
    # more take minutes to compile; below there are two.
    arguments = {"n_blocks_per_stage": 1, "n_blocks_per_stage_decoder": 1, "drop_path_rate": 0.0, "tcma_patches": (2,)}
    network = S3Mamba(2, 3, (16,), (1, 4), depthwise_conv=True, deep_supervision=True, **arguments)
    x, results = torch.randn(2, 2, 24, 30), []
    for run in (network, torch.compile(network, fullgraph=True)):
        network.zero_grad()
        outputs = run(x)
        sum(output.square().mean() for output in outputs).backward()
        results.append([*(output.detach() for output in outputs), *(p.grad.clone() for p in network.parameters())])
    for eager, compiled in zip(*results, strict=True):
        torch.testing.assert_close(compiled, eager, rtol=1e-3, atol=1e-5)


@pytest.mark.compile
@pytest.mark.filterwarnings("ignore")  # of torch's compiler about itself
@pytest.mark.parametrize(
    ("name", "conv_op", "dtype"),
    [
        ("S3Mamba", nn.Conv2d, torch.float16),
        ("S3Mamba, conv stem", nn.Conv2d, torch.float16),
        ("VMUNet", nn.Conv2d, torch.float16),
        ("SegMamba", nn.Conv2d, torch.float16),
        ("SAUMamba", nn.Conv2d, torch.bfloat16),
        ("S3Mamba", nn.Conv3d, torch.bfloat16),
    ],
)
def test_is_one_graph_under_autocast_too(name, conv_op, dtype):
    """Traced and differentiated, but not translated to C++, which takes most of the time and knows nothing of us."""
    # What it has seen of other networks would make it take every size for a variable.
    torch._dynamo.reset()
    torch.manual_seed(0)
    axes = 2 if conv_op is nn.Conv2d else 3
    strides = ((1,) * axes, (4,) * axes, (2,) * axes)
    # Both with and without recomputation, which the compiler has to take into the graph of the backward pass.
    stages = () if name == "S3Mamba" else (0,)
    arguments = {"widths": (8, 16), "d_state": 16, "deep_supervision": True, "checkpointed_stages": stages}
    network = small_network(name, 1, 2, strides, conv_op=conv_op, **arguments)
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    with torch.autocast("cpu", dtype):
        outputs = compiled(torch.randn(2, 1, *(16,) * axes))
    sum(output.float().square().mean() for output in outputs).backward()
    assert all(p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.compile
@pytest.mark.filterwarnings("ignore")  # of torch's compiler about itself
def test_another_size_is_another_graph():
    """Of a size that may vary, torch would derive for minutes by what TCMA's patches divide it."""
    torch._dynamo.reset()
    graphs = []

    def count(graph: torch.fx.GraphModule, inputs: list) -> torch.fx.GraphModule:
        graphs.append(any(isinstance(value, torch.SymInt) for value in inputs))
        return graph

    network = VMUNet(1, 2, (8,), (1, 2), 1, 1).eval()
    compiled = torch.compile(network, fullgraph=True, backend=count)
    with torch.no_grad():
        for size in (16, 24, 32, 24):
            image = torch.randn(1, 1, size, 16)
            torch.testing.assert_close(compiled(image), network(image))
    assert graphs == [False, False, False]
