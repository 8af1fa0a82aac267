"""Plans files that are derived from nnU-Net's, and files that must not be lost by it."""

import json
from copy import deepcopy
from inspect import signature
from pathlib import Path

import pytest
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_mamba.architectures.registry import NETWORKS
from nnunetv2_mamba.plans.derive import derive_plans, derive_plans_file
from nnunetv2_mamba.trainers.nnUNetTrainerS3Mamba import nnUNetTrainerS3Mamba
from nnunetv2_mamba.trainers.nnUNetTrainerSegMamba import nnUNetTrainerSegMamba
from nnunetv2_mamba.trainers.nnUNetTrainerVMUNet import nnUNetTrainerVMUNet


def configuration(n_stages: int, data_identifier: str) -> dict:
    arch_kwargs = {
        "features_per_stage": [min(32 * 2**stage, 512) for stage in range(n_stages)],
        "strides": [[1, 1]] + [[2, 2]] * (n_stages - 1),
        "kernel_sizes": [[3, 3]] * n_stages,
        "conv_op": "torch.nn.modules.conv.Conv2d",
    }
    return {
        "data_identifier": data_identifier,
        "batch_size": 12,
        "patch_size": [64, 64],
        "spacing": [0.8, 0.5],
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": arch_kwargs,
            "_kw_requires_import": ["conv_op"],
        },
    }


@pytest.fixture
def plans() -> dict:
    return {
        "dataset_name": "Dataset999_Toy",
        "plans_name": "nnUNetPlans",
        "configurations": {
            "2d": configuration(6, "nnUNetPlans_2d"),
            "2d_large_batch": {"inherits_from": "2d", "batch_size": 48},
            "2d_low": configuration(5, "nnUNetPlans_2d_low"),
        },
    }


def class_names(plans: dict) -> dict[str, str]:
    manager = PlansManager(plans)
    names = {c: manager.get_configuration(c).network_arch_class_name for c in plans["configurations"]}
    return {configuration: name.rpartition(".")[2] for configuration, name in names.items()}


def test_all_configurations_get_the_network_and_keep_the_rest(plans):
    before = deepcopy(plans)
    derived = derive_plans(plans, "S3Mamba")
    assert plans == before
    assert derived["plans_name"] == "nnUNetPlans_S3Mamba"
    assert class_names(derived) == dict.fromkeys(plans["configurations"], "S3Mamba")
    for entry in (*derived["configurations"].values(), *before["configurations"].values()):
        entry.pop("architecture", None)
    assert derived["configurations"] == before["configurations"]


@pytest.mark.parametrize("chosen", ["2d", "2d_large_batch", "2d_low"])
def test_only_the_chosen_configuration_changes_even_where_another_inherits_from_it(plans, chosen):
    derived = derive_plans(plans, "VMUNet", [chosen])
    assert class_names(derived) == {c: "VMUNet" if c == chosen else "PlainConvUNet" for c in plans["configurations"]}


@pytest.mark.parametrize("trainer_class", [nnUNetTrainerVMUNet, nnUNetTrainerS3Mamba, nnUNetTrainerSegMamba])
def test_derived_plans_have_the_networks_that_trainers_build(plans, trainer_class):
    plans["configurations"]["2d_coarse"] = {"inherits_from": "2d", "spacing": [4.0, 1.0]}
    derived = derive_plans(plans, trainer_class.network_name)
    for name, entry in derived["configurations"].items():
        built = trainer_class._architecture(PlansManager(plans).get_configuration(name))
        assert all_arguments(entry["architecture"]) == all_arguments(built)


def all_arguments(architecture: dict) -> dict:
    """What the network is built from, defaults included."""
    network = NETWORKS[architecture["network_class_name"].rpartition(".")[2]]
    parameters = signature(network).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty} | architecture["arch_kwargs"]


def test_each_configuration_has_its_own_spacing(plans):
    plans["configurations"]["2d_coarse"] = {"inherits_from": "2d", "spacing": [4.0, 1.0]}
    derived = derive_plans(plans, "S3Mamba")["configurations"]
    spacings = {name: entry["architecture"]["arch_kwargs"]["spacing"] for name, entry in derived.items()}
    assert spacings == {"2d": [0.8, 0.5], "2d_large_batch": [0.8, 0.5], "2d_low": [0.8, 0.5], "2d_coarse": [4, 1]}


def test_unknown_configuration_is_answered_with_the_known_ones(plans):
    with pytest.raises(ValueError, match=r"nnUNetPlans has no configuration 3d, only 2d, 2d_large_batch, 2d_low\."):
        derive_plans(plans, "S3Mamba", ["3d"])


@pytest.mark.parametrize("n_stages", [1, 2, 3])
def test_a_single_level_is_refused_because_the_stock_loss_would_be_nan(plans, n_stages):
    plans["configurations"]["2d_low"] = configuration(n_stages, "nnUNetPlans_2d_low")
    with pytest.raises(ValueError, match=rf"2d_low has {n_stages} stages.*-tr nnUNetTrainerS3Mamba"):
        derive_plans(plans, "S3Mamba")
    assert class_names(derive_plans(plans, "S3Mamba", ["2d"]))["2d"] == "S3Mamba"


def test_plans_that_name_another_network_of_ours_are_refused(plans):
    derived = derive_plans(plans, "S3Mamba", ["2d"])
    with pytest.raises(ValueError, match="name S3Mamba already, and VMUNet cannot be derived from it"):
        derive_plans(derived, "VMUNet")
    assert class_names(derive_plans(derived, "VMUNet", ["2d_low"])) == {
        "2d": "S3Mamba",
        "2d_large_batch": "PlainConvUNet",
        "2d_low": "VMUNet",
    }


def test_plans_of_old_nnunet_are_refused(plans):
    del plans["configurations"]["2d_low"]["architecture"]
    with pytest.raises(ValueError, match=r"configuration 2d_low of nnUNetPlans has no architecture.*plan again"):
        derive_plans(plans, "S3Mamba")


@pytest.fixture
def folder(tmp_path, monkeypatch, plans) -> Path:
    monkeypatch.setenv("nnUNet_preprocessed", str(tmp_path))
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "raw"))
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "results"))
    folder = tmp_path / "Dataset999_Toy"
    folder.mkdir()
    (folder / "nnUNetPlans.json").write_text(json.dumps(plans))
    return folder


@pytest.mark.parametrize("dataset", ["999", 999, "Dataset999_Toy"])
def test_file_is_found_by_id_and_by_name(folder, dataset):
    written = derive_plans_file(dataset, "nnUNetPlans", "VMUNet")
    assert written == folder / "nnUNetPlans_VMUNet.json"
    assert PlansManager(str(written)).plans_name == "nnUNetPlans_VMUNet"


def test_deriving_twice_is_no_error(folder):
    assert derive_plans_file(folder) == derive_plans_file(folder)


def test_a_file_that_somebody_edited_is_not_overwritten(folder):
    target = derive_plans_file(folder)
    edited = json.loads(target.read_text())
    edited["configurations"]["2d"]["batch_size"] = 2
    target.write_text(json.dumps(edited))
    with pytest.raises(FileExistsError, match=r"nnUNetPlans_S3Mamba\.json exists .* nothing was written"):
        derive_plans_file(folder)
    assert json.loads(target.read_text()) == edited


def test_the_source_is_not_overwritten(folder, plans):
    with pytest.raises(FileExistsError, match="nothing was written"):
        derive_plans_file(folder, plans_name="nnUNetPlans")
    assert json.loads((folder / "nnUNetPlans.json").read_text()) == plans


def test_no_file_is_written_for_a_network_it_would_not_hold(folder):
    derive_plans_file(folder)
    with pytest.raises(ValueError, match="name S3Mamba already"):
        derive_plans_file(folder, "nnUNetPlans_S3Mamba", "VMUNet")
    assert sorted(file.name for file in folder.iterdir()) == ["nnUNetPlans.json", "nnUNetPlans_S3Mamba.json"]


def test_missing_source_names_the_command_to_run(folder):
    with pytest.raises(FileNotFoundError, match=r"nnUNetResEncUNetLPlans\.json does not exist: run nnUNetv2_plan_and"):
        derive_plans_file(folder, "nnUNetResEncUNetLPlans")


def test_missing_dataset_is_nnunets_own_message(folder):
    with pytest.raises(RuntimeError, match="Could not find a dataset with the ID 123"):
        derive_plans_file("123")


def test_checkpointed_stages_reach_the_network_through_the_plans(plans):
    """What is written is read again as JSON and built as nnU-Net builds it."""
    derived = json.loads(
        json.dumps(derive_plans(plans, "S3Mamba", ["2d"], plans_name="Lean", checkpointed_stages=[0, 2]))
    )
    configuration = PlansManager(derived).get_configuration("2d")
    network = get_network_from_plans(
        configuration.network_arch_class_name,
        configuration.network_arch_init_kwargs,
        configuration.network_arch_init_kwargs_req_import,
        1,
        2,
        deep_supervision=True,
    )
    assert [layer.blocks.checkpointed for layer in network.encoder.layers] == [True, False, True, False]
    assert [layer.blocks.checkpointed for layer in network.decoder.layers] == [False, True, False, True]
    untouched = derived["configurations"]["2d_low"]["architecture"]["arch_kwargs"]
    assert "checkpointed_stages" not in untouched
    assert "checkpointed_stages" not in derive_plans(plans, "S3Mamba")["configurations"]["2d"]["architecture"]


def test_checkpointed_stages_can_be_added_to_plans_of_ours(plans):
    again = derive_plans(derive_plans(plans, "VMUNet"), "VMUNet", plans_name="Lean", checkpointed_stages=[1])
    for entry in again["configurations"].values():
        assert entry["architecture"]["arch_kwargs"]["checkpointed_stages"] == [1]


def test_a_stage_that_a_configuration_does_not_have_is_named(plans):
    with pytest.raises(
        ValueError, match=r"^configuration 2d_low has the stages 0, the finest, to 2: stage 3 cannot be"
    ):
        derive_plans(plans, "S3Mamba", checkpointed_stages=[0, 3])


def test_a_stem_that_keeps_every_voxel_can_be_planned(plans):
    derived = derive_plans(plans, "S3Mamba", stem="conv")
    assert derived["plans_name"] == "nnUNetPlans_S3MambaFine"
    arguments = derived["configurations"]["2d"]["architecture"]["arch_kwargs"]
    assert (arguments["stem"], arguments["conv_stages"]) == ("conv", 2)
    assert derive_plans(plans, "S3Mamba", stem="patch")["plans_name"] == "nnUNetPlans_S3Mamba"


@pytest.mark.parametrize(
    ("network", "stem", "sentence"),
    [
        ("SegMamba", "conv", "^SegMamba has no stem to choose: leave the stem out.$"),
        ("VMUNet", "convolution", "^stem is 'convolution'; use one of 'patch', 'conv'$"),
    ],
)
def test_a_stem_that_a_network_cannot_have_is_refused(plans, network, stem, sentence):
    with pytest.raises(ValueError, match=sentence):
        derive_plans(plans, network, stem=stem)


def test_a_trainer_takes_plans_of_its_own_stem_only(plans):
    manager = PlansManager(derive_plans(plans, "VMUNet", stem="conv"))
    with pytest.raises(ValueError, match="with stem = conv and nnUNetTrainerVMUNet stands for patch"):
        nnUNetTrainerVMUNet._architecture(manager.get_configuration("2d"))
