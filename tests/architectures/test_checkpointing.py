"""Checkpointed stages: the same training with less memory, in every network."""

from functools import partial

import pytest
import torch
from torch import nn

from nnunetv2_mamba.architectures import S3Mamba, VMUNet
from nnunetv2_mamba.architectures._registry import NETWORKS
from nnunetv2_mamba.building_blocks import checkpointing

STRIDES = {nn.Conv2d: ((1, 1), (4, 4), (2, 2)), nn.Conv3d: ((1, 1, 1), (1, 4, 4), (2, 2, 2))}
SIZES = {nn.Conv2d: (48, 64), nn.Conv3d: (6, 32, 40)}
BLOCKS = {"n_blocks_per_stage": 2, "n_blocks_per_stage_decoder": (1, 2)}

sweep = pytest.mark.parametrize("name", NETWORKS)
both_dimensions = pytest.mark.parametrize("conv_op", [nn.Conv2d, nn.Conv3d], ids=["2d", "3d"])


def make_network(name: str, conv_op: type[nn.Module], stages: tuple[int, ...], **arguments) -> nn.Module:
    torch.manual_seed(0)
    heads = {"side_heads": True} if name == "VMUNet" else {}
    arguments = {"d_state": 4, "deep_supervision": True, **BLOCKS, **heads, **arguments}
    network = NETWORKS[name](2, 3, (8, 16), STRIDES[conv_op], conv_op=conv_op, checkpointed_stages=stages, **arguments)
    # Feedback that starts at zero would hide what TCMA's gradients are.
    for parameter in network.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.05)
    return network


def make_image(conv_op: type[nn.Module], batch: int = 3) -> torch.Tensor:
    return torch.randn(batch, 2, *SIZES[conv_op], generator=torch.Generator().manual_seed(1))


def training_step(network: nn.Module, image: torch.Tensor) -> dict[str, torch.Tensor]:
    """Everything that one step leaves behind."""
    torch.manual_seed(2)
    outputs = network(image)
    sum(output.float().square().mean() for output in outputs).backward()
    gradients = {f"gradient of {name}": parameter.grad for name, parameter in network.named_parameters()}
    return {**{f"output {i}": o for i, o in enumerate(outputs)}, **gradients, **dict(network.named_buffers())}


@sweep
@both_dimensions
@pytest.mark.parametrize("stages", [(0,), (1,), (0, 1)], ids=str)
def test_a_step_is_the_same_to_the_bit(name, conv_op, stages):
    """Drop path draws the same samples again, and TCMA's running statistics see each batch once."""
    image = make_image(conv_op)
    plain, checkpointed = (
        training_step(make_network(name, conv_op, s, drop_path_rate=0.5), image) for s in ((), stages)
    )
    assert plain.keys() == checkpointed.keys()
    assert not [key for key in plain if not torch.equal(plain[key], checkpointed[key])]


@sweep
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_so_it_is_under_autocast(name, dtype):
    image = make_image(nn.Conv2d)
    with torch.autocast("cpu", dtype):
        outputs = [make_network(name, nn.Conv2d, stages)(image) for stages in ((), (0, 1))]
    assert all(torch.equal(*pair) for pair in zip(*outputs, strict=True))


def kept_elements(network: nn.Module, function, image: torch.Tensor) -> int:
    """Elements that autograd keeps of a call, weights aside: saved tensors, and what checkpointed blocks start from."""
    weights = {tensor.untyped_storage().data_ptr() for tensor in network.state_dict().values()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    original = checkpointing.checkpoint

    def checkpoint(function, *inputs, **settings):
        for tensor in inputs:
            keep(tensor)
        return original(function, *inputs, **settings)

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpointing, "checkpoint", checkpoint)
        outputs = function(image)
    assert outputs is not None
    return sum(tensor.untyped_storage().nbytes() // 4 for tensor in kept.values())


@sweep
@both_dimensions
def test_memory_falls_as_the_estimate_says(name, conv_op):
    arguments = {"d_state": 16, "drop_path_rate": 0.0}
    make = partial(make_network, name, conv_op, **arguments)
    image, size = make_image(conv_op, batch=1), SIZES[conv_op]
    networks = {stages: make(stages) for stages in ((), (1,), (0,), (0, 1))}
    networks[()](image)  # the first scan of a process checks its backend, which is not to be counted
    kept = {stages: kept_elements(network, network, image) for stages, network in networks.items()}
    assert kept[(0, 1)] < kept[(0,)] < kept[(1,)] < kept[()]
    # While the finest blocks are recomputed, one of them is there as a whole.
    plain = networks[()]
    block = plain.encoder.layers[0].blocks[0]
    tokens = plain.encoder.patch_embed(image).detach().requires_grad_()
    one_block = kept_elements(plain, block, tokens) - tokens.numel()
    expand = partial(plain.decoder.final_expand.segment, head=plain.decoder.seg_layers[0])
    recomputed = max(one_block, kept_elements(plain, expand, tokens) - tokens.numel())
    for stages in ((0,), (0, 1)):
        estimate = networks[stages].compute_conv_feature_map_size(size)
        assert estimate == pytest.approx(kept[stages] + recomputed, rel=0.1)
    assert plain.compute_conv_feature_map_size(size) == pytest.approx(kept[()], rel=0.1)


@sweep
@pytest.mark.parametrize("mode", ["eval", "no_grad", "inference_mode"])
def test_nothing_is_checkpointed_where_no_backward_pass_follows(name, mode, monkeypatch):
    network, image = make_network(name, nn.Conv2d, (0, 1), drop_path_rate=0.0), make_image(nn.Conv2d)
    expected = network(image)
    monkeypatch.setattr(checkpointing, "checkpoint", None)
    if mode == "eval":
        network.eval()(image)
        return
    with getattr(torch, mode)():
        assert all(torch.equal(*pair) for pair in zip(network(image), expected, strict=True))


@sweep
def test_weights_know_nothing_of_it(name):
    plain, checkpointed = (make_network(name, nn.Conv2d, stages).state_dict() for stages in ((), (0,)))
    assert plain.keys() == checkpointed.keys()


@pytest.mark.parametrize("network_class", [VMUNet, S3Mamba])
@pytest.mark.parametrize(("stages", "named"), [((4,), "4"), ((0, -1), "-1"), (("0",), "'0'")], ids=str)
def test_a_stage_that_is_not_there_is_one_sentence(network_class, stages, named):
    sentence = f"^checkpointed_stages names {named}; the network has the stages 0, the finest, to 3$"
    with pytest.raises(ValueError, match=sentence):
        network_class(1, 2, checkpointed_stages=stages)
