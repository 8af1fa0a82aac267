"""Plans, checkpoints and results that version 0.1.0 wrote are read, and its networks predict what they predicted."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_mamba import plugin
from nnunetv2_mamba.architectures import S3Mamba, SegMamba
from nnunetv2_mamba.evaluation import PRESETS, Protocol
from nnunetv2_mamba.evaluation.results import read_evaluation
from nnunetv2_mamba.evaluation.text import lines_of
from nnunetv2_mamba.inspection.text import render
from nnunetv2_mamba.report.cost import cost_of
from nnunetv2_mamba.training.safety.safe_checkpoint import EXTRAS_KEY

OLD = Path(__file__).parent / "version_0_1_0"
NETWORKS = {"S3Mamba": S3Mamba, "SegMamba": SegMamba}

both = pytest.mark.parametrize("name", NETWORKS)


def model(name: str) -> Path:
    return OLD / "results" / f"nnUNetTrainer{name}__nnUNetPlans_{name}__2d"


@both
def test_plans_build_the_network(name):
    plans = json.loads((OLD / "plans" / f"nnUNetPlans_{name}.json").read_text())
    configuration = PlansManager(plans).get_configuration("2d")
    network = get_network_from_plans(
        configuration.network_arch_class_name,
        configuration.network_arch_init_kwargs,
        configuration.network_arch_init_kwargs_req_import,
        3,
        2,
        deep_supervision=True,
    )
    assert type(network) is NETWORKS[name]


@both
def test_a_model_predicts_what_it_predicted(name, monkeypatch):
    monkeypatch.setenv("NNUNETV2_MAMBA_BACKEND", "torch")
    monkeypatch.setattr(
        "nnunetv2.inference.predict_from_raw_data.recursive_find_trainer_class_by_name", plugin.load_trainer
    )
    predictor = nnUNetPredictor(use_mirroring=False, device=torch.device("cpu"), perform_everything_on_device=False)
    predictor.initialize_from_trained_model_folder(str(model(name)), (0,), "checkpoint_final.pth")
    image, properties = predictor.plans_manager.image_reader_writer_class().read_images(
        [str(OLD / "images" / "case_0_0000.png")]
    )
    _, probabilities = predictor.predict_single_npy_array(
        image, properties, None, None, save_or_return_probabilities=True
    )
    expected = np.load(OLD / "predicted" / name / "case_0.npz")["probabilities"]
    np.testing.assert_allclose(probabilities, expected, atol=1e-3)


@both
def test_a_training_goes_on_from_its_checkpoint(name, tmp_path, monkeypatch):
    for folder in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"nnUNet_{folder}", str(tmp_path / folder))
    data = tmp_path / "preprocessed" / "Dataset901_Toy" / "nnUNetPlans_2d"
    data.mkdir(parents=True)
    (data / "case.b2nd").touch()
    plans = json.loads((model(name) / "plans.json").read_text()) | {"continue_training": True}
    dataset = json.loads((model(name) / "dataset.json").read_text())
    trainer = plugin.load_trainer(f"nnUNetTrainer{name}")(plans, "2d", 0, dataset, torch.device("cpu"))
    checkpoint = model(name) / "fold_0" / "checkpoint_final.pth"
    trainer.load_checkpoint(str(checkpoint))
    assert trainer.current_epoch == 2
    if name == "S3Mamba":
        old = torch.load(checkpoint, weights_only=False)["curriculum"]
        assert trainer._saved_curriculum == old
        trainer.save_latest(next_epoch=3)
        new = torch.load(Path(trainer.output_folder, "checkpoint_latest.pth"), weights_only=False)
        assert new["optimizer_state"].keys() >= {"state", "param_groups"}
        assert EXTRAS_KEY not in new, "extras lie beside the optimizer's state"


@pytest.mark.parametrize(
    "folder", ["evaluated", "results/nnUNetTrainerSegMamba__nnUNetPlans_SegMamba__2d/fold_0/validation"]
)
def test_results_are_read(folder, tmp_path):
    shutil.copytree(OLD / folder, tmp_path / "results")
    evaluation = read_evaluation(tmp_path / "results")
    assert "blob" in evaluation.summary["targets"]
    assert len(evaluation.lesions) == evaluation.summary["rows"]
    assert any("recall" in line for line in lines_of(evaluation.summary))


def test_the_rules_have_kept_their_hash():
    summary = json.loads((OLD / "evaluated" / "lesion_summary.json").read_text())
    assert summary["protocol_hash"] == Protocol().hash
    assert Protocol.from_dict(summary["protocol"]) == Protocol()
    assert "brats-met" in PRESETS


def test_an_inspection_and_a_cost_are_read():
    assert "blob" in render(json.loads((OLD / "inspected" / "lesion_inspection.json").read_text()))
    cost = cost_of(model("S3Mamba") / "fold_0")
    assert (cost["trainer"], cost["epochs"], cost["iterations_per_epoch"]) == ("nnUNetTrainerS3Mamba", 2, 2)
