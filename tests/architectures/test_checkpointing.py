"""Checkpointed stages: the same training with less memory, in every network."""

import pytest
import torch
from torch import nn

from nnunetv2_mamba.building_blocks import checkpointing
from tests.architectures.small_networks import FINE, small_arguments, small_network, sweep

STRIDES = {nn.Conv2d: ((1, 1), (4, 4), (2, 2)), nn.Conv3d: ((1, 1, 1), (1, 4, 4), (2, 2, 2))}
SIZES = {nn.Conv2d: (48, 64), nn.Conv3d: (6, 32, 40)}
BLOCKS = {"n_blocks_per_stage": 2, "n_blocks_per_stage_decoder": (1, 2)}

both_dimensions = pytest.mark.parametrize("conv_op", [nn.Conv2d, nn.Conv3d], ids=["2d", "3d"])


def make_network(name: str, conv_op: type[nn.Module], stages: tuple[int, ...], **arguments) -> nn.Module:
    torch.manual_seed(0)
    arguments = {"widths": (8, 16), "deep_supervision": True, **BLOCKS, **arguments}
    network = small_network(name, 2, 3, STRIDES[conv_op], conv_op=conv_op, checkpointed_stages=stages, **arguments)
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


def kept_elements(network: nn.Module, function, inputs: tuple) -> tuple[int, int]:
    """Elements that autograd keeps of a call, weights aside, and the most that a checkpointed part of it makes anew.

    Kept are saved tensors and what checkpointed parts start from; made anew is what such a part would keep by itself.
    """
    weights = {tensor.untyped_storage().data_ptr() for tensor in network.state_dict().values()}
    kept: dict[int, torch.Tensor] = {}
    recomputed = [0]

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    original = checkpointing.checkpoint

    def checkpoint(function, *inputs, **settings):
        for tensor in inputs:
            keep(tensor)
        # Copies, so that what the part is given does not count as kept by it.
        alone = tuple(tensor.detach().clone().requires_grad_() for tensor in inputs)
        own, _ = kept_elements(network, function, alone)
        recomputed.append(own - sum(tensor.numel() for tensor in alone))
        return original(function, *inputs, **settings)

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpointing, "checkpoint", checkpoint)
        outputs = function(*inputs)
    assert outputs is not None
    return sum(tensor.untyped_storage().nbytes() // 4 for tensor in kept.values()), max(recomputed)


@sweep
@both_dimensions
def test_memory_falls_as_the_estimate_says(name, conv_op):
    image, size = make_image(conv_op, batch=1), SIZES[conv_op]
    sets_of_stages = ((), (1,), (0,), (0, 1))
    networks = {
        stages: make_network(name, conv_op, stages, d_state=16, drop_path_rate=0.0) for stages in sets_of_stages
    }
    networks[()](image)  # the first scan of a process checks its backend, which is not to be counted
    kept = {stages: kept_elements(network, network, (image,)) for stages, network in networks.items()}
    # The finest stage keeps most, unless it is a narrow convolutional one.
    less, more = ((1,), (0,)) if name.endswith(FINE) else ((0,), (1,))
    assert kept[(0, 1)][0] < kept[less][0] < kept[more][0] < kept[()][0]
    # While the blocks of a stage are recomputed, one of them is there as a whole.
    assert kept[()][1] == 0 < kept[more][1] < kept[less][1]
    for stages, network in networks.items():
        assert network.compute_conv_feature_map_size(size) == pytest.approx(sum(kept[stages]), rel=0.1)


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


@sweep
@pytest.mark.parametrize(("stages", "named"), [((4,), "4"), ((0, -1), "-1"), (("0",), "'0'")], ids=str)
def test_a_stage_that_is_not_there_is_one_sentence(name, stages, named):
    coarsest = len(small_arguments(name, (1, 4, 2, 2))["features_per_stage"]) - 1
    sentence = f"^checkpointed_stages names {named}; the network has the stages 0, the finest, to {coarsest}$"
    with pytest.raises(ValueError, match=sentence):
        small_network(name, 1, 2, (1, 4, 2, 2), checkpointed_stages=stages)
