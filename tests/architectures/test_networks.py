"""What every network promises, swept over the registry: a new network is tested by being registered."""

import pickle
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from batchgeneratorsv2.transforms.utils.deep_supervision_downsampling import DownsampleSegForDSTransform
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.architectures.small_networks import small_network, sweep, sweep_those_with, sweep_values

CONV_OPS = [pytest.param(nn.Conv2d, id="2d"), pytest.param(nn.Conv3d, id="3d")]
SUPERVISED = [pytest.param(True, id="ds"), pytest.param(False, id="no-ds")]
STRIDES = {nn.Conv2d: ((1, 1), (4, 4), (2, 2), (2, 2)), nn.Conv3d: ((1, 1, 1), (1, 4, 4), (2, 2, 2), (1, 2, 2))}
SIZES = {nn.Conv2d: (32, 48), nn.Conv3d: (4, 16, 32)}
ODD_SIZES = {nn.Conv2d: [(33, 50), (4, 7), (22, 90)], nn.Conv3d: [(3, 17, 30), (1, 4, 5)]}


def make_network(name: str, conv_op: type[nn.Module], deep_supervision: bool = False, **arguments) -> nn.Module:
    torch.manual_seed(0)
    arguments = {"strides": STRIDES[conv_op], "n_blocks_per_stage": (1, 2, 1)} | arguments
    return small_network(name, 2, 3, conv_op=conv_op, deep_supervision=deep_supervision, **arguments)


def make_image(size: tuple[int, ...], batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 2, *size, generator=torch.Generator().manual_seed(1))


def sum_of_squares(outputs: torch.Tensor | list[torch.Tensor]) -> torch.Tensor:
    return sum(output.square().mean() for output in (outputs if isinstance(outputs, list) else [outputs]))


both_dimensions = pytest.mark.parametrize("conv_op", CONV_OPS)


@sweep
@both_dimensions
@pytest.mark.parametrize("deep_supervision", SUPERVISED)
def test_forward_gives_logits_of_the_right_shapes(name, conv_op, deep_supervision):
    network, x = make_network(name, conv_op, deep_supervision), make_image(SIZES[conv_op])
    outputs = network(x)
    assert isinstance(outputs, list) == deep_supervision
    scales = nnunet_scales(conv_op) if deep_supervision else [[1.0] * (x.ndim - 2)]
    shapes = [tuple(round(s * f) for s, f in zip(x.shape[2:], scale, strict=True)) for scale in scales]
    outputs = outputs if deep_supervision else [outputs]
    assert [tuple(output.shape) for output in outputs] == [(2, 3, *shape) for shape in shapes]
    assert outputs[0].min() < 0 < outputs[0].max()


@sweep_values("finest_skip", True, False)
@both_dimensions
def test_every_parameter_gets_a_gradient_with_deep_supervision(name, options, conv_op):
    network = make_network(name, conv_op, deep_supervision=True, **options)
    sum_of_squares(network(make_image(SIZES[conv_op]))).backward()
    assert not [key for key, parameter in network.named_parameters() if parameter.grad is None]
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


@sweep
@pytest.mark.parametrize("levels", [1, 3])
def test_every_parameter_gets_a_gradient_without_deep_supervision(name, levels):
    """DDP waits for all of them, in a trainer without deep supervision too."""
    network = make_network(name, nn.Conv2d, False, strides=(1, 2, 2, 2)[: levels + 1], n_blocks_per_stage=1)
    sum_of_squares(network(make_image(SIZES[nn.Conv2d]))).backward()
    assert not [key for key, parameter in network.named_parameters() if parameter.grad is None]
    idle_heads = network.decoder.seg_layers[1:].parameters()
    assert all(torch.equal(parameter.grad, torch.zeros_like(parameter)) for parameter in idle_heads)


@sweep
@both_dimensions
def test_state_dict_is_the_same_with_deep_supervision_on_and_off(name, conv_op):
    supervised, plain = make_network(name, conv_op, True), make_network(name, conv_op, False)
    nn.init.ones_(next(supervised.encoder.parameters()))
    assert plain.load_state_dict(supervised.state_dict()).missing_keys == []
    x = make_image(SIZES[conv_op])
    finest = supervised.eval()(x)[0]
    assert torch.equal(plain.eval()(x), finest)
    plain.decoder.deep_supervision = True
    assert torch.equal(plain(x)[0], finest)


@sweep
@both_dimensions
def test_state_dict_survives_a_file(name, conv_op, tmp_path: Path):
    network, fresh = make_network(name, conv_op), make_network(name, conv_op)
    network(make_image(SIZES[conv_op]))
    for parameter in network.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    fresh.load_state_dict(torch.load(tmp_path / "weights.pth", weights_only=True))
    x = make_image(SIZES[conv_op])
    assert torch.equal(fresh.eval()(x), network.eval()(x))


@sweep
def test_networks_can_be_pickled(name):
    network, x = make_network(name, nn.Conv2d).eval(), make_image(SIZES[nn.Conv2d])
    assert torch.equal(pickle.loads(pickle.dumps(network))(x), network(x))


@sweep
@both_dimensions
def test_same_weights_serve_any_size(name, conv_op):
    network = make_network(name, conv_op, deep_supervision=True)
    for size in [SIZES[conv_op], *ODD_SIZES[conv_op]]:
        outputs = network(make_image(size))
        assert outputs[0].shape == (2, 3, *size)
        sum_of_squares(outputs).backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


@sweep_those_with("drop_path_rate")
@both_dimensions
def test_drop_path_makes_training_random(name, conv_op):
    network, x = make_network(name, conv_op, drop_path_rate=0.5), make_image(SIZES[conv_op], batch=8)
    assert not torch.equal(network(x), network(x))


@sweep
@both_dimensions
def test_evaluation_is_deterministic_and_takes_each_image_alone(name, conv_op):
    # Norms over few positions blow up what single precision rounds.
    network, x = make_network(name, conv_op, drop_path_rate=0.5).eval().double(), make_image(SIZES[conv_op], batch=8)
    x = x.double()
    assert torch.equal(network(x), network(x))
    alone = torch.cat([network(sample[None]) for sample in x])
    torch.testing.assert_close(alone, network(x), rtol=1e-6, atol=1e-9)


@sweep
@both_dimensions
@settings(max_examples=12)
@given(data=st.data())
def test_side_outputs_fit_nnunets_targets(name, conv_op, data):
    """Every size that nnU-Net can downsample, odd ones too, at the scales that its trainer derives from the strides."""
    smallest = [2 * round(1 / scale) for scale in nnunet_scales(conv_op)[-1]]
    size = tuple(data.draw(st.integers(low, low + 40)) for low in smallest)
    downsample = DownsampleSegForDSTransform(nnunet_scales(conv_op))
    target = downsample(segmentation=torch.zeros(1, *size))["segmentation"]
    with torch.no_grad():
        outputs = supervised_network(name, conv_op)(make_image(size, batch=1))
    assert [output.shape[2:] for output in outputs] == [segmentation.shape[1:] for segmentation in target]


@cache
def supervised_network(name: str, conv_op: type[nn.Module]) -> nn.Module:
    return make_network(name, conv_op, deep_supervision=True)


def nnunet_scales(conv_op: type[nn.Module]) -> list[list[float]]:
    """As nnU-Net 2.8's trainer computes them from the plan's strides."""
    return [list(scale) for scale in 1 / np.cumprod(np.vstack(STRIDES[conv_op]), axis=0)][:-1]


@sweep
@both_dimensions
def test_padding_continues_the_image_at_its_end(name, conv_op):
    network = make_network(name, conv_op).eval()
    odd = tuple(size - 1 for size in SIZES[conv_op])
    x = make_image(odd)
    padded = nn.functional.pad(x, (0, 1) * len(odd), mode="replicate")
    torch.testing.assert_close(network(x), network(padded)[(..., *(slice(size) for size in odd))])


@sweep
@pytest.mark.parametrize("levels", [1, 2, 4])
def test_any_number_of_levels(name, levels):
    network = make_network(
        name,
        nn.Conv2d,
        deep_supervision=True,
        widths=(4, 8, 12, 16),
        strides=(1, 2, 2, 2, 2)[: levels + 1],
        n_blocks_per_stage=1,
    )
    outputs = network(make_image((16, 16)))
    assert [output.shape[-1] for output in outputs] == [16, 8, 4, 2][:levels]
    sum_of_squares(outputs).backward()
    unused = [key for key, parameter in network.named_parameters() if parameter.grad is None]
    assert not unused


@sweep
def test_nnunet_initialisation_changes_nothing(name):
    network = make_network(name, nn.Conv2d)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    network.apply(network.initialize)
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())


@sweep
def test_class_dependent_weights_are_those_nnunet_does_not_transfer(name):
    few, many = (small_network(name, 1, classes, (1, 4, 2), widths=(4, 8)).state_dict() for classes in (2, 5))
    differing = [key for key in few if few[key].shape != many[key].shape]
    assert differing
    assert all(".seg_layers." in key for key in differing)


@sweep
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mixed_precision_of_large_inputs_is_finite(name, dtype):
    network, x = make_network(name, nn.Conv2d, deep_supervision=True), 1e3 * make_image((32, 32))
    with torch.autocast("cpu", dtype):
        outputs = network(x)
    assert all(output.isfinite().all() for output in outputs)


@sweep
@both_dimensions
@pytest.mark.parametrize(
    ("dtype", "error"), [(torch.float64, 1e-4), (torch.float16, 0.02), (torch.bfloat16, 0.1)], ids=str
)
def test_networks_run_in_other_precisions(name, conv_op, dtype, error):
    # At half this size, norms over the few positions of the coarsest level would blow up what is rounded.
    x = make_image(tuple(2 * size for size in SIZES[conv_op]))
    network = make_network(name, conv_op, True, drop_path_rate=0.0)
    expected = network(x)
    outputs = network.to(dtype)(x.to(dtype))
    assert {output.dtype for output in outputs} == {dtype}
    for output, reference in zip(outputs, expected, strict=True):
        assert (output.float() - reference).norm() < error * reference.norm()
    sum_of_squares([output.to(torch.promote_types(dtype, torch.float32)) for output in outputs]).backward()
    assert all(parameter.grad.dtype == dtype and parameter.grad.isfinite().all() for parameter in network.parameters())


@sweep
def test_gradients_in_double_precision(name):
    network, x = make_network(name, nn.Conv2d, True, drop_path_rate=0.0).double(), make_image((32, 32), 1).double()
    # Feedback that starts at zero would hide what lies before it; evaluation keeps batch norm's averages in place.
    for parameter in network.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.05)
    network(x)
    network.eval()
    parameters = [p for p in network.parameters() if p.requires_grad]
    directions = [torch.randn_like(p) / p.numel() ** 0.5 for p in parameters]
    gradients = torch.autograd.grad(sum_of_squares(network(x)), parameters)
    slope = sum((g * d).sum() for g, d in zip(gradients, directions, strict=True))

    def shifted(step: float) -> torch.Tensor:
        for parameter, direction in zip(parameters, directions, strict=True):
            parameter.add_(direction, alpha=step)
        return sum_of_squares(network(x))

    with torch.no_grad():
        torch.testing.assert_close((shifted(1e-6) - shifted(-2e-6)) / 2e-6, slope, rtol=1e-4, atol=0)


@sweep
@pytest.mark.parametrize(
    ("conv_op", "strides", "size", "num_classes"),
    [
        pytest.param(nn.Conv2d, STRIDES[nn.Conv2d], (64, 96), 3, id="2d"),
        pytest.param(nn.Conv3d, STRIDES[nn.Conv3d], (8, 32, 48), 3, id="3d-thin"),
        # Scales of TCMA do not divide these levels of 10x14x10 and 5x7x5 tokens.
        pytest.param(nn.Conv3d, (1, 4, 2, 1), (40, 56, 40), 14, id="3d-padded"),
    ],
)
def test_kept_elements_are_what_autograd_keeps(name, conv_op, strides, size, num_classes):
    """The planner's proxy against every tensor that autograd saves for one sample, weights aside."""
    widths = {"widths": (16, 32, 64), "d_state": 16, "drop_path_rate": 0.0}
    network = small_network(name, 2, num_classes, strides, conv_op=conv_op, **widths)
    image = make_image(size, batch=1)
    # The first scan of a process checks its backend, which is not to be counted.
    network(image)
    weights = {tensor.untyped_storage().data_ptr() for tensor in network.state_dict().values()}
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = network(image)
    measured = sum(tensor.untyped_storage().nbytes() // 4 for tensor in kept.values())
    assert output.requires_grad
    assert network.compute_conv_feature_map_size(size) == pytest.approx(measured, rel=0.1)
