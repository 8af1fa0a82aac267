"""Which tensors go where, and the account of it."""

import pytest
import torch
from torch import nn

from nnunetv2_mamba.architectures import S3Mamba, VMUNet
from nnunetv2_mamba.pretrained.transfer import transfer
from nnunetv2_mamba.pretrained.vmamba import WeightsError, counterparts, require_v0


def number_of(tensors, name):
    return float(tensors[name].flatten()[0])


@pytest.mark.parametrize(("source", "tensors"), [("small", 446), ("tiny", 212)])
@pytest.mark.parametrize(
    ("network", "encoder", "decoder"), [("vmunet", 117, 91), ("s3mamba", 101, 77), ("saumamba", 117, 91)]
)
def test_published_networks_load_what_vm_unets_code_loads(request, source, tensors, network, encoder, decoder):
    source = request.getfixturevalue(source)
    network = request.getfixturevalue(network)
    assert len(source) == tensors
    require_v0(source, "file")
    _, report = transfer(source, network)
    assert (report.loaded_tensors("encoder"), report.loaded_tensors("decoder")) == (encoder, decoder)
    assert report.coverage == 1
    assert report.mismatched == report.adapted == {}
    assert report.loaded.keys() | report.missing.keys() == network.state_dict().keys()
    assert f"encoder {encoder}, decoder {decoder}" in report.table()


def test_unused_are_the_classifier_and_blocks_that_the_network_lacks(small, vmunet, s3mamba):
    _, report = transfer(small, vmunet)
    # 25 further blocks of the third stage.
    assert len(report.unused) == 25 * 13 + 4
    assert len(small) == 117 + len(report.unused)
    _, report = transfer(small, s3mamba)
    assert sum(".conv2d." in name for name in report.unused) == 27 * 2 + 6 * 2


def test_blocks_behind_a_convolutional_stem_take_those_of_vmamba(toy):
    network = VMUNet(3, 2, (4, 6, 8, 16, 32, 64), (1, 2, 2, 2, 2, 2), 2, 2, stem="conv")
    state, report = transfer(toy, network)
    assert report.coverage == 1
    assert report.mismatched == report.adapted == {}
    assert torch.all(state["encoder.layers.2.blocks.0.ln_1.weight"] == number_of(toy, "layers.2.blocks.0.ln_1.weight"))
    assert torch.all(state["encoder.layers.1.downsample.norm.bias"] == number_of(toy, "layers.1.downsample.norm.bias"))
    own = [name for name in report.missing if name.startswith("encoder.")]
    assert {name.split(".")[1] for name in own} == {"stem", "patch_embed"}


def test_what_stays_initialised(small, vmunet, s3mamba, saumamba):
    _, report = transfer(small, vmunet)
    assert {name.rpartition(".")[0] for name in report.missing} == {
        *(f"decoder.layers.{stage}.upsample.{layer}" for stage in (1, 2, 3) for layer in ("expand", "norm")),
        *("decoder.final_expand.expand", "decoder.final_expand.norm"),
        *(f"decoder.seg_layers.{level}" for level in range(4)),
    }
    _, report = transfer(small, saumamba)
    blocks = {name for name in report.missing if ".blocks." in name}
    assert len(blocks) == 8 * (4 + 14)
    assert {name.split(".")[5] for name in blocks} == {"skip_scale", "ln_2", "rfac", "skip_scale2"}
    _, report = transfer(small, s3mamba)
    assert all(
        any(part in name for part in ("channel_attention", "tcma", "seg_layers", "upsample", "final_expand"))
        for name in report.missing
    )


def test_the_table_says_what_became_of_each_part(small, s3mamba):
    _, report = transfer(small, s3mamba)
    lines = [" ".join(line.split()) for line in report.table().splitlines()]
    loaded = sum(s3mamba.state_dict()[name].numel() for name in report.loaded)
    assert lines[0] == "tensors parameters"
    assert lines[1] == f"loaded 178 {loaded:,} encoder 101, decoder 77"
    assert lines[2] == "of them adapted 0 0"
    assert lines[3].startswith(f"missing {len(s3mamba.state_dict()) - 178} ")
    for part in ("decoder.tcma 1", "encoder.channel_attention 32", "decoder.upsample 9", "decoder.seg_layers 2"):
        assert part in lines[3]
    assert lines[4] == "shape-mismatched 0 0"
    # 27 * 13 tensors of the third stage, of which two blocks lend all but their convolution; elsewhere that is unused.
    assert "layers.2.blocks 329, layers.0.blocks 4, layers.1.blocks 4, layers.3.blocks 4, norm 2, head 2" in lines[5]
    assert lines[6] == f"coverage 1.000 of the {loaded:,} parameters that VMamba has too"


def test_each_tensor_gets_the_one_of_its_level(small, vmunet):
    state, _ = transfer(small, vmunet)
    name = "blocks.1.self_attention.Ds"
    for level in range(4):
        wanted = number_of(small, f"layers.{level}.{name}")
        assert torch.all(state[f"encoder.layers.{level}.{name}"] == wanted)
        # The finest decoder stage has a single block.
        if level > 0:
            assert torch.all(state[f"decoder.layers.{3 - level}.{name}"] == wanted)
    first = number_of(small, "layers.0.blocks.0.ln_1.bias")
    assert torch.all(state["decoder.layers.3.blocks.0.ln_1.bias"] == first)
    wanted = number_of(small, "layers.2.downsample.reduction.weight")
    assert torch.all(state["encoder.layers.2.downsample.reduction.weight"] == wanted)


def test_the_network_itself_stays_as_it_is_and_the_rest_of_the_state_is_its_own(small, vmunet):
    before = {name: tensor.clone() for name, tensor in vmunet.state_dict().items()}
    state, report = transfer(small, vmunet)
    assert all(torch.equal(tensor, before[name]) for name, tensor in vmunet.state_dict().items())
    assert all(torch.equal(state[name], before[name]) for name in report.missing)
    assert all(state[name].dtype == before[name].dtype for name in state)


def test_counterparts_are_tensors_of_the_classifier(small, vmunet, s3mamba, saumamba):
    for network in (vmunet, s3mamba, saumamba):
        assert set(counterparts(network).values()) <= small.keys()


def test_fewer_levels_load_what_there_is(toy):
    network = VMUNet(1, 2, (8, 16), strides=(1, 4, 2), n_blocks_per_stage=2, n_blocks_per_stage_decoder=(2, 1))
    state, report = transfer(toy, network)
    assert (report.loaded_tensors("encoder"), report.loaded_tensors("decoder")) == (4 + 4 * 13 + 3, 3 * 13)
    assert report.coverage == 1
    name = "blocks.1.self_attention.Ds"
    assert torch.all(state[f"decoder.layers.0.{name}"] == number_of(toy, f"layers.1.{name}"))


def test_more_blocks_than_the_file_has_are_missing(toy):
    blocks = {"n_blocks_per_stage": (3, 2, 2, 2), "n_blocks_per_stage_decoder": (2, 2, 2, 1)}
    _, report = transfer(toy, VMUNet(1, 2, (8, 16, 32, 64), **blocks))
    assert sum(name.startswith("encoder.layers.0.blocks.2.") for name in report.missing) == 13
    assert 0.9 < report.coverage < 1


def test_coverage_is_loaded_over_what_vmamba_has(toy):
    network = VMUNet(3, 2, (8, 16, 32, 64))
    own = network.state_dict()
    lacking = "layers.3.blocks.0.self_attention.in_proj.weight"
    del toy[lacking]
    _, report = transfer(toy, network)
    loadable = sum(own[name].numel() for name in counterparts(network))
    # Encoder and decoder lack it.
    lost = 2 * own[f"encoder.{lacking}"].numel()
    assert report.coverage == pytest.approx((loadable - lost) / loadable, abs=1e-12)
    report.require(report.coverage, "file")
    with pytest.raises(WeightsError, match=r"only 0\.9\d+ of the parameters that file could give"):
        report.require(report.coverage + 1e-6, "file")


def test_other_widths_are_mismatched_and_refused_whatever_the_threshold(toy):
    _, report = transfer(toy, VMUNet(3, 2, (12, 24, 48, 96)))
    assert report.mismatched["encoder.layers.0.blocks.0.ln_1.weight"] == "(8,) in the file, (12,) here"
    with pytest.raises(WeightsError, match=r"no block of file fits the network; encoder\.patch_embed\.proj\.weight: "):
        report.require(0.0, "file")


@pytest.mark.parametrize("merge", [(2, 1), (4, 1), (1, 4)])
def test_cells_that_vmamba_does_not_merge_stay_initialised(toy, merge):
    # (4, 1) has as many positions as (2, 2), so that its shapes would fit.
    network = VMUNet(3, 2, (8, 16, 32, 64), strides=((1, 1), (4, 4), merge, (2, 2), (2, 2)))
    _, report = transfer(toy, network)
    assert report.mismatched.keys() == {
        f"encoder.layers.0.downsample.{name}" for name in ("norm.weight", "norm.bias", "reduction.weight")
    }
    assert set(report.mismatched.values()) == {f"the network merges cells of {merge}, VMamba of (2, 2)"}


def test_a_tensor_of_another_form_is_mismatched_and_no_crash(toy):
    toy["patch_embed.proj.weight"] = torch.zeros(8, 48)
    toy["layers.0.downsample.norm.weight"] = torch.zeros(33)
    toy["layers.1.blocks.0.self_attention.Ds"] = torch.zeros(7)
    toy["layers.1.blocks.0.self_attention.conv2d.weight"] = torch.zeros(32, 9)
    _, report = transfer(toy, VMUNet(3, 2, (8, 16, 32, 64), conv_op=nn.Conv3d))
    assert {name.partition(".")[2] for name in report.mismatched if name.startswith("encoder")} == {
        "patch_embed.proj.weight",
        "layers.0.downsample.norm.weight",
        "layers.1.blocks.0.self_attention.Ds",
        "layers.1.blocks.0.self_attention.conv2d.weight",
    }


def test_weights_that_are_not_finite_are_refused(toy):
    toy["layers.3.blocks.1.ln_1.bias"] = torch.full((64,), torch.nan)
    with pytest.raises(WeightsError, match=r"layers\.3\.blocks\.1\.ln_1\.bias holds NaN"):
        transfer(toy, S3Mamba(3, 2, (8, 16, 32, 64)))


V2 = {
    "patch_embed.0.weight": (48, 3, 3, 3),
    "patch_embed.2.weight": (48,),
    "layers.0.blocks.0.norm.weight": (96,),
    "layers.0.blocks.0.op.A_logs": (384, 1),
    "layers.0.blocks.0.op.in_proj.weight": (192, 96),
    "layers.0.blocks.0.norm2.weight": (96,),
    "layers.0.blocks.0.mlp.fc1.weight": (384, 96),
    "layers.0.downsample.1.weight": (192, 96, 3, 3),
    "classifier.norm.weight": (768,),
}


@pytest.mark.parametrize("sign", [name for name in V2 if not name.startswith("classifier")])
def test_every_sign_of_v2_is_enough_to_refuse_it(small, sign):
    state = {**small, sign: torch.zeros(V2[sign])}
    with pytest.raises(WeightsError, match=r"^file is a VMamba v2 file .*get vssmsmall_dp03_ckpt_epoch_238\.pth"):
        require_v0(state, "file")


def test_a_scan_with_a_single_state_is_v2():
    state = {"layers.0.blocks.0.self_attention.A_logs": torch.zeros(384, 1)}
    with pytest.raises(WeightsError, match="v2 file"):
        require_v0(state, "file")


@pytest.mark.parametrize("state", [{}, {"features.0.weight": torch.zeros(1)}, {"norm.weight": torch.zeros(768)}])
def test_a_file_of_something_else_is_refused(state):
    with pytest.raises(WeightsError, match=r"^file is not a VMamba classifier \((it has no|its first) tensor"):
        require_v0(state, "file")
