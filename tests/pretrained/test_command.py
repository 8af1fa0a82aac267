"""``convert-weights`` from the command line to nnU-Net's own loading."""

import hashlib
import json
import os
import re
import subprocess
import sys

import pytest
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from nnunetv2.run.load_pretrained_weights import load_pretrained_weights

from nnunetv2_mamba import __version__, architectures, cli, plugin
from nnunetv2_mamba.architectures._vss_unet import VSSUNet
from nnunetv2_mamba.pretrained.target import build_target
from nnunetv2_mamba.pretrained.transfer import transfer
from nnunetv2_mamba.pretrained.vmamba import WeightsError, counterparts


@pytest.fixture
def convert(dataset, tmp_path, toy):
    """Call with words of the command line; the checkpoint, trainer, dataset and output are given already."""
    torch.save({"model": toy}, tmp_path / "vmamba.pth")

    def run(*words: str, configuration: str = "2d", trainer: str = "nnUNetTrainerVMUNet", dataset: str = "902"):
        given = [str(tmp_path / "vmamba.pth"), "--trainer", trainer, "-d", dataset, "-c", configuration]
        return cli.main(["convert-weights", *given, "-o", str(tmp_path / "out.pth"), *words])

    return run


def refused(convert, tmp_path, *words, **options) -> str:
    with pytest.raises(SystemExit) as stop:
        convert(*words, **options)
    message = str(stop.value)
    assert message.startswith("convert-weights: ")
    assert "\n" not in message
    assert sorted(path.name for path in tmp_path.glob("*.pth*")) == ["vmamba.pth"]
    return message


@pytest.mark.parametrize("trainer", ["nnUNetTrainerVMUNet", "nnUNetTrainer"])
def test_nnunet_loads_the_file(convert, tmp_path, toy, capsys, trainer):
    assert convert(trainer=trainer) == 0
    text = capsys.readouterr().out
    assert f"{len(toy)} tensors in model" in text
    assert f"nnUNetv2_train 902 2d FOLD -tr {trainer} -pretrained_weights {tmp_path / 'out.pth'}" in text
    network = build_target(trainer, dataset="902", configuration="2d", plans="nnUNetPlans").network
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(-1)
    load_pretrained_weights(network, tmp_path / "out.pth")
    state = network.state_dict()
    names = counterparts(network)
    assert len(names) == 117 + 91
    for name, tensor in state.items():
        if name in names:
            colours = 3 if name == "encoder.patch_embed.proj.weight" else 1
            assert torch.all(tensor == colours * toy[names[name]].flatten()[0]), name
        else:
            # nnU-Net never takes the heads from a file; of the rest, each has its own start.
            assert torch.all(tensor == -1) == ("seg_layers" in name), name


def test_the_file_says_where_it_is_from(convert, tmp_path):
    convert()
    content = torch.load(tmp_path / "out.pth", weights_only=True)
    assert content.keys() == {"network_weights", "nnunetv2_mamba"}
    origin = content["nnunetv2_mamba"]
    assert origin["version"] == __version__
    assert origin["source"] == "vmamba.pth"
    assert origin["sha256"] == hashlib.sha256((tmp_path / "vmamba.pth").read_bytes()).hexdigest()
    assert (origin["dataset"], origin["loaded"], origin["coverage"]) == ("Dataset902_Toy", 208, 1.0)


def test_the_same_command_writes_the_same_weights(convert, tmp_path):
    convert()
    first = torch.load(tmp_path / "out.pth", weights_only=True)["network_weights"]
    (tmp_path / "out.pth").unlink()
    torch.manual_seed(5)
    convert()
    second = torch.load(tmp_path / "out.pth", weights_only=True)["network_weights"]
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_volume_asks_for_inflate(convert, tmp_path):
    assert "3d_fullres is 3D and VMamba's weights are 2D: add --inflate" in refused(
        convert, tmp_path, configuration="3d_fullres"
    )
    assert "2d is 2D" in refused(convert, tmp_path, "--inflate")
    assert convert("--inflate", configuration="3d_fullres") == 0
    network = build_target(
        "nnUNetTrainerVMUNet", dataset="902", configuration="3d_fullres", plans="nnUNetPlans"
    ).network
    load_pretrained_weights(network, tmp_path / "out.pth")
    assert network.encoder.patch_embed.proj.weight.shape[1:] == (1, 4, 4, 4)


def test_a_cascade_keeps_masks_and_image_apart(convert, tmp_path, toy):
    convert("--inflate", configuration="3d_cascade_fullres")
    stem = torch.load(tmp_path / "out.pth", weights_only=True)["network_weights"]["encoder.patch_embed.proj.weight"]
    assert stem.shape == (8, 3, 4, 4, 4)
    assert torch.all(stem[:, 0] == 3 / 4 * toy["patch_embed.proj.weight"][0, 0, 0, 0])
    assert torch.all(stem[:, 1:] == 0)


def test_coverage_decides(convert, tmp_path):
    reason = "encoder.layers.1.downsample.norm.weight: the network merges cells of (2, 1), VMamba of (2, 2)"
    message = refused(convert, tmp_path, "--min-coverage", "0.999", configuration="merges_rows_only")
    assert message.startswith("convert-weights: only 0.9")
    assert reason in message
    # The default lets one merging that does not fit pass.
    assert convert(configuration="merges_rows_only") == 0
    # Stock loading wants every tensor, fitting or not.
    network = build_target(
        "nnUNetTrainerVMUNet", dataset="902", configuration="merges_rows_only", plans="nnUNetPlans"
    ).network
    load_pretrained_weights(network, tmp_path / "out.pth")


@pytest.mark.usefixtures("dataset")
@pytest.mark.parametrize("trainer", plugin.trainer_names())
def test_every_trainer_of_our_networks_can_be_given_weights(small, trainer):
    name = getattr(plugin.load_trainer(trainer), "network_name", None)
    network = getattr(architectures, name) if name else PlainConvUNet
    if not issubclass(network, VSSUNet):
        with pytest.raises(WeightsError, match=f"^{trainer} with nnUNetPlans trains a {network.__name__}, for which"):
            build_target(trainer, dataset="902", configuration="stock", plans="nnUNetPlans")
        return
    target = build_target(trainer, dataset="902", configuration="stock", plans="nnUNetPlans")
    _, report = transfer(small, target.network)
    if target.network.encoder.stem is not None:  # its blocks are narrower than VMamba's
        assert report.coverage == 0
        return
    scan = 0 if trainer.endswith(("_Identity", "_Conv")) else 5
    assert (report.coverage == 1) != trainer.endswith("_Conv")  # of whose large kernels VMamba knows nothing
    assert report.loaded_tensors("encoder") in (4 + 2 * (6 + scan), 4 + 2 * (8 + scan))


@pytest.mark.parametrize(
    ("words", "options", "sentence"),
    [
        ([], {"configuration": "wide"}, "no block of .*vmamba.pth fits the network"),
        ([], {"configuration": "3d_lowres"}, "Requested configuration 3d_lowres not found in plans"),
        ([], {"configuration": "stock", "trainer": "nnUNetTrainer"}, "PlainConvUNet, for which VMamba has no weights"),
        ([], {"configuration": "2d", "trainer": "nnUNetTrainerS3Mamba"}, "name VMUNet already, and S3Mamba cannot"),
        (["-p", "nnUNetOtherPlans"], {}, "nnUNetOtherPlans.json does not exist"),
        (["--min-coverage", "90"], {}, "--min-coverage is 90.0; give a share between 0 and 1"),
        (["-o", "nowhere/out.pth"], {}, "the folder .*nowhere does not exist"),
    ],
)
def test_what_does_not_fit_is_one_sentence(convert, tmp_path, words, options, sentence):
    assert re.search(sentence, refused(convert, tmp_path, *words, **options))


# nnU-Net imports each of its own trainers to look for one, and they import what is deprecated.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"trainer": "nnUNetTrainerNowhere"}, "Could not find requested nnunet trainer nnUNetTrainerNowhere"),
        ({"dataset": "903"}, "Could not find a dataset with the ID 903"),
    ],
)
def test_what_nnunet_does_not_find_is_said_in_its_own_words(convert, options, sentence):
    with pytest.raises(SystemExit, match=f"^convert-weights: {sentence}"):
        convert(**options)


def test_help_loads_neither_torch_nor_nnunet():
    code = (
        "import sys\nfrom nnunetv2_mamba.cli import main\n"
        "try: main(['convert-weights', '--help'])\nexcept SystemExit: pass\n"
        "assert not sys.modules.keys() & {'torch', 'nnunetv2'}"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "--min-coverage" in result.stdout
    assert "FILE" in result.stdout


def test_an_existing_file_is_not_overwritten(convert, tmp_path):
    (tmp_path / "out.pth").write_text("precious")
    with pytest.raises(SystemExit, match=r"out\.pth exists and is not overwritten"):
        convert()
    assert (tmp_path / "out.pth").read_text() == "precious"


def test_nothing_is_half_written(convert, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(SystemExit, match=r"out\.pth cannot be written \(disk full\)"):
        convert()
    assert not list(tmp_path.glob("*out.pth*"))


def test_v2_and_damaged_files_are_refused_before_the_network_is_built(convert, tmp_path, dataset):
    (dataset / "nnUNetPlans.json").unlink()
    torch.save({"model": {"layers.0.blocks.0.op.A_logs": torch.zeros(2, 1)}}, tmp_path / "vmamba.pth")
    assert "vmamba.pth is a VMamba v2 file" in refused(convert, tmp_path)
    (tmp_path / "vmamba.pth").write_bytes(b"<html>")
    assert "cannot be read as plain weights" in refused(convert, tmp_path)


def test_plans_of_nnunets_own_planners_give_the_published_network(convert, tmp_path, dataset, small, capsys):
    plans = json.loads((dataset / "nnUNetPlans.json").read_text())
    stages = plans["configurations"]["stock"]["architecture"]["arch_kwargs"]
    stages["strides"] = [[1, 1], *[[2, 2]] * 5]
    (dataset / "nnUNetPlans.json").write_text(json.dumps(plans))
    torch.save({"model": small}, tmp_path / "vmamba.pth")
    assert convert(configuration="stock", trainer="nnUNetTrainerS3Mamba") == 0
    assert "encoder 101, decoder 77" in capsys.readouterr().out
    network = build_target("nnUNetTrainerS3Mamba", dataset="902", configuration="stock", plans="nnUNetPlans").network
    load_pretrained_weights(network, tmp_path / "out.pth")
