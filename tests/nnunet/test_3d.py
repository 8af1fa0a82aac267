"""S3-Mamba in 3d_fullres, 3d_lowres and the cascade through nnU-Net's commands, on anisotropic toy volumes."""

import json
import os
import shutil
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_mamba.trainers.nnUNetTrainerS3Mamba import nnUNetTrainerS3Mamba
from tests.nnunet.conftest import Workspace, both

pytestmark = pytest.mark.nnunet

S3MAMBA = "nnUNetTrainerS3Mamba"
DATASET = "Dataset902_ToyVolumes"
# As arrays, (z, y, x). Slices are sagittal: nnU-Net makes their coarse axis the first one of its arrays.
SHAPE, SPACING = (34, 36, 10), (1.0, 1.0, 3.0)

REAL_DATA = os.environ.get("NNUNETV2_MAMBA_TEST_DATA")
HIPPOCAMPUS = Path(REAL_DATA or ".") / "msd_hippocampus_80"


def write_volume(folder: Path, name: str, split: str, rng: np.random.Generator) -> None:
    image = rng.normal(size=SHAPE).astype(np.float32)
    label = np.zeros(SHAPE, np.uint8)
    positions = np.stack(np.indices(SHAPE), -1) * SPACING
    for value in (1, 2):
        centre = rng.uniform((9, 9, 9), (24, 24, 21))
        ball = np.linalg.norm(positions - centre, axis=-1) <= 6
        image[ball] += 3 * value
        label[ball] = value
    images = {f"images{split}/{name}_0000.nii.gz": image}
    labels = {f"labels{split}/{name}.nii.gz": label} if split == "Tr" else {}
    for file, array in (images | labels).items():
        volume = sitk.GetImageFromArray(array)
        volume.SetSpacing(SPACING[::-1])
        sitk.WriteImage(volume, folder / file)


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Three training volumes and one to predict, planned and preprocessed for full and low resolution."""
    workspace = Workspace(tmp_path_factory.mktemp("volumes"), dataset=DATASET, configuration="3d_fullres")
    for sub in ("imagesTr", "labelsTr", "imagesTs"):
        (workspace.raw / sub).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("case_0", "case_1", "case_2"):
        write_volume(workspace.raw, name, "Tr", rng)
    write_volume(workspace.raw, "test_0", "Ts", rng)
    dataset_json = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "first": 1, "second": 2},
        "numTraining": 3,
        "file_ending": ".nii.gz",
    }
    (workspace.raw / "dataset.json").write_text(json.dumps(dataset_json))
    planner = ["-d", 902, "-c", "3d_fullres", "-npfp", 1, "--no_pp"]
    # The planner counts on a worker process for augmentation.
    workspace.run("nnUNetv2_plan_and_preprocess", *planner, nnUNet_n_proc_DA="1")
    file = workspace.preprocessed / "nnUNetPlans.json"
    file.write_text(json.dumps(with_cascade(json.loads(file.read_text()))))
    workspace.run("nnUNetv2_preprocess", "-d", 902, "-c", "3d_fullres", "3d_lowres", "-np", 1, 1)
    return workspace


def with_cascade(plans: dict) -> dict:
    """The plans with the configurations that nnU-Net's planner adds for large volumes, written as it writes them."""
    configurations = deepcopy(plans["configurations"])
    full = configurations["3d_fullres"]
    low = {
        "data_identifier": "nnUNetPlans_3d_lowres",
        "spacing": [full["spacing"][0], *(2 * length for length in full["spacing"][1:])],
        "batch_dice": False,
        "next_stage": "3d_cascade_fullres",
    }
    configurations["3d_lowres"] = full | low
    configurations["3d_cascade_fullres"] = {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}
    return plans | {"configurations": configurations}


@pytest.fixture(scope="module")
def trained(volumes: Workspace) -> Workspace:
    """Full and low resolution, each with all cases, as the cascade needs them."""
    both(*[partial(replace(volumes, configuration=c).train, S3MAMBA, "all") for c in ("3d_fullres", "3d_lowres")])
    return volumes


def check_prediction(workspace: Workspace, folder: Path) -> None:
    image = sitk.ReadImage(workspace.raw / "imagesTs" / "test_0_0000.nii.gz")
    prediction = sitk.ReadImage(folder / "test_0.nii.gz")
    assert prediction.GetSize() == image.GetSize() == SHAPE[::-1]
    assert prediction.GetSpacing() == image.GetSpacing() == SPACING[::-1]
    assert set(np.unique(sitk.GetArrayFromImage(prediction))) <= {0, 1, 2}


def test_the_planned_spacing_reaches_the_network(volumes):
    plans = PlansManager(str(volumes.preprocessed / "nnUNetPlans.json"))
    expected = {"3d_fullres": [3, 1, 1], "3d_lowres": [3, 2, 2], "3d_cascade_fullres": [3, 1, 1]}
    for name, spacing in expected.items():
        network = nnUNetTrainerS3Mamba.build_network_architecture(plans, plans.get_configuration(name), 1, 3)
        steps = network.decoder.tcma.edge_stem[0].kernels.abs().amax((1, 2, 3, 4))
        assert (steps.max() / steps).tolist() == pytest.approx([length / min(spacing) for length in spacing])


def test_full_resolution_predicts_in_the_space_of_the_image(trained):
    metrics = json.loads((trained.model(S3MAMBA) / "fold_all" / "validation" / "summary.json").read_text())
    assert len(metrics["metric_per_case"]) == 3
    check_prediction(trained, trained.predict(S3MAMBA, ["all"], "predicted"))


def test_the_lesion_report_measures_in_the_space_of_the_image(trained):
    report = json.loads((trained.model(S3MAMBA) / "fold_all" / "validation" / "lesion_summary.json").read_text())
    assert (report["dimensions"], report["unit"], list(report["targets"])) == (3, "mm", ["first", "second"])
    for case in report["cases"]:
        label = sitk.GetArrayFromImage(sitk.ReadImage(trained.raw / "labelsTr" / f"{case['case']}.nii.gz"))
        assert sorted(case["spacing"]) == sorted(SPACING)
        volumes = [case["targets"][name]["counts"]["reference_volume"] for name in ("first", "second")]
        assert volumes == [pytest.approx(np.prod(SPACING) * (label == value).sum()) for value in (1, 2)]


@pytest.mark.slow
def test_cascade_trains_and_predicts_on_what_the_low_resolution_predicted(trained):
    low, cascade = (replace(trained, configuration=name) for name in ("3d_lowres", "3d_cascade_fullres"))
    of_previous_stage = low.model(S3MAMBA) / "predicted_next_stage" / "3d_cascade_fullres"
    assert len(list(of_previous_stage.iterdir())) == 3
    predicted_low, _ = both(
        partial(low.predict, S3MAMBA, ["all"], "predicted_low"), partial(cascade.train, S3MAMBA, "all")
    )
    check_prediction(low, predicted_low)
    final = cascade.predict(S3MAMBA, ["all"], "predicted_cascade", "-prev_stage_predictions", predicted_low)
    check_prediction(cascade, final)


@pytest.mark.slow
@pytest.mark.skipif(not REAL_DATA, reason="NNUNETV2_MAMBA_TEST_DATA names no folder with msd_hippocampus_80")
def test_a_short_training_finds_the_hippocampus(tmp_path):
    """60 real volumes, 360 steps of nnU-Net's own plan, 20 others to predict: minutes on a CPU.

    A prediction that is all one label has a Dice below 0.06 for it and 0 for the other.
    """
    workspace = Workspace(tmp_path, dataset="Dataset903_Hippocampus", configuration="3d_fullres")
    shutil.copytree(HIPPOCAMPUS, workspace.raw)
    planner = ["-d", 903, "-c", "3d_fullres", "-npfp", 2, "-np", 2]
    workspace.run("nnUNetv2_plan_and_preprocess", *planner, nnUNet_n_proc_DA="1")
    length = {"EPOCHS": "6", "ITERATIONS": "60", "VAL_ITERATIONS": "2"}
    workspace.train(S3MAMBA, 0, **{f"NNUNETV2_MAMBA_{name}": value for name, value in length.items()})
    predicted = workspace.predict(S3MAMBA, [0], "predicted")
    files = ["-djfile", workspace.raw / "dataset.json", "-pfile", predicted / "plans.json", "-np", 1]
    workspace.run("nnUNetv2_evaluate_folder", workspace.raw / "labelsTs", predicted, *files)
    summary = json.loads((predicted / "summary.json").read_text())
    assert len(summary["metric_per_case"]) == 20
    assert min(label["Dice"] for label in summary["mean"].values()) > 0.3
