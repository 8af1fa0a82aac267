"""``nnUNetv2_mamba inspect`` on what nnU-Net's own code has planned and preprocessed."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from PIL import Image
from scipy import ndimage

from nnunetv2_mamba.cli import main
from nnunetv2_mamba.folders.dataset import Dataset
from nnunetv2_mamba.inspection.planned import network_of

pytestmark = pytest.mark.nnunet

NAME = "Dataset902_Volumes"
RESAMPLING = {"order": 1, "order_z": 0, "force_separate_z": None}
STRIDES = [[1, 1, 1], [1, 2, 2], [1, 2, 2], [2, 2, 2]]


def configuration(spacing: list[float], strides: list[list[int]]) -> dict:
    return {
        "data_identifier": f"nnUNetPlans_{len(spacing)}d",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": [8] * len(spacing),
        "spacing": spacing,
        "normalization_schemes": ["NoNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": {"is_seg": False, **RESAMPLING},
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_seg_kwargs": {"is_seg": True, **RESAMPLING},
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": {
                "features_per_stage": [8] * len(strides),
                "strides": strides,
                "kernel_sizes": [[3] * len(spacing)] * len(strides),
                "conv_op": f"torch.nn.modules.conv.Conv{len(spacing)}d",
            },
            "_kw_requires_import": ["conv_op"],
        },
    }


PLANS = {
    "dataset_name": NAME,
    "plans_name": "nnUNetPlans",
    # The slices of these volumes are across their last axis.
    "transpose_forward": [2, 0, 1],
    "transpose_backward": [1, 2, 0],
    "image_reader_writer": "SimpleITKIO",
    "label_manager": "LabelManager",
    "foreground_intensity_properties_per_channel": {"0": {}},
    "configurations": {
        "2d": configuration([2.0, 2.0], [stride[1:] for stride in STRIDES]),
        "3d_fullres": configuration([3.0, 2.0, 2.0], STRIDES),
    },
}
DESCRIPTION = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "spot": 1}, "file_ending": ".nii.gz"}


def volume() -> np.ndarray:
    """One voxel; four that fill a voxel of the plan in one slice; 4 x 4 in two slices; (z, y, x) = (16, 16, 6)."""
    spots = np.zeros((16, 16, 6), dtype=np.uint8)
    spots[3, 3, 1] = 1
    spots[6:8, 6:8, 3] = 1
    spots[10:14, 10:14, 3:5] = 1
    return spots


def write(array: np.ndarray, path: Path) -> None:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((3.0, 1.0, 1.0))
    sitk.WriteImage(image, str(path))


@pytest.fixture(scope="module")
def preprocessed(tmp_path_factory) -> Path:
    """Two volumes, preprocessed by nnU-Net for 2d and 3d_fullres; below the raw and preprocessed folders."""
    root = tmp_path_factory.mktemp("volumes")
    raw, preprocessed = (root / part / NAME for part in ("raw", "preprocessed"))
    for folder in (raw / "imagesTr", raw / "labelsTr", preprocessed):
        folder.mkdir(parents=True)
    for folder in (raw, preprocessed):
        (folder / "dataset.json").write_text(json.dumps(DESCRIPTION))
    (preprocessed / "nnUNetPlans.json").write_text(json.dumps(PLANS))
    plans = PlansManager(PLANS)
    for case, spots in (("spots", volume()), ("empty", np.zeros_like(volume()))):
        image, labels = raw / "imagesTr" / f"{case}_0000.nii.gz", raw / "labelsTr" / f"{case}.nii.gz"
        write(spots, labels)
        # nnU-Net crops to what is not zero, here without the first two rows.
        write(np.where(np.arange(16)[:, None, None] < 2, 0, np.ones(spots.shape, dtype=np.float32)), image)
        for name in PLANS["configurations"]:
            planned = plans.get_configuration(name)
            target = preprocessed / planned.data_identifier
            target.mkdir(exist_ok=True)
            preprocessor = DefaultPreprocessor(verbose=False)
            preprocessor.run_case_save(str(target / case), [str(image)], str(labels), plans, planned, DESCRIPTION)
    return root


@pytest.fixture
def dataset(preprocessed, tmp_path, monkeypatch) -> Path:
    """A copy to break, which nnU-Net's variables name."""
    for part in ("raw", "preprocessed"):
        shutil.copytree(preprocessed / part, tmp_path / part)
        monkeypatch.setenv(f"nnUNet_{part}", str(tmp_path / part))
    monkeypatch.delenv("nnUNet_results", raising=False)
    return tmp_path


def inspected(dataset: Path, *arguments: str) -> dict:
    assert main(["inspect", "-d", "902", "-np", "1", "-o", str(dataset / "out"), *arguments]) == 0
    assert (dataset / "out" / "lesion_inspection.png").stat().st_size > 10_000
    return json.loads((dataset / "out" / "lesion_inspection.json").read_text())


def test_images_in_a_new_process(planned):
    arguments = [Path(sys.executable).parent / "nnUNetv2_mamba", "inspect", "-d", "901"]
    done = subprocess.run(arguments, env=planned.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads((planned.preprocessed / "lesion_inspection.json").read_text())
    areas = []
    for file in sorted((planned.raw / "labelsTr").glob("*.png")):
        lesions, number = ndimage.label(np.asarray(Image.open(file)), np.ones((3, 3)))
        areas += ndimage.sum_labels(lesions > 0, lesions, range(1, number + 1)).tolist()
    blob = report["targets"]["blob"]
    assert blob["lesions"] == len(areas)
    assert blob["size"]["median"] == np.median(areas)
    # These images are not resampled.
    assert (blob["resampled"]["how"], blob["resampled"]["vanished"]) == ("measured", 0)
    assert blob["resampled"]["below_token"] == sum(area < 16 for area in areas)
    assert report["network"] == {
        "trainer": "nnUNetTrainerS3Mamba",
        "name": "S3Mamba",
        "token": [4, 4],
        "total_stride": [8, 8],
    }
    assert f"lesions {len(areas)}" in " ".join(done.stdout.split())


def test_volumes(dataset):
    report = inspected(dataset)
    spot = report["targets"]["spot"]
    assert (report["cases"], report["lesion_free_cases"], report["unit"]) == (2, 1, "mm")
    assert spot["size"] | {"q05": None, "q25": None, "q75": None, "q95": None} == {
        "min": 3,
        "q05": None,
        "q25": None,
        "median": 12,
        "q75": None,
        "q95": None,
        "max": 96,
    }
    assert spot["in_one_slice"] == 2
    assert report["plan"]["configuration"] == "3d_fullres"
    assert report["network"]["token"] == [1, 4, 4]
    # Rows and columns are halved: linear interpolation leaves nothing of a single voxel.
    of_case = {case["case"]: case["targets"]["spot"] for case in report["per_case"]}
    assert of_case["spots"] == {
        "voxels": [1, 4, 32],
        "largest_slice": [1, 4, 16],
        "slices": [1, 1, 2],
        "touch_border": [0, 0, 0],
        "touch_another_class": None,
        "resampled": [0, 1, 8],
    }
    assert (spot["resampled"]["vanished"], spot["resampled"]["below_token"]) == (1, 3)
    assert {finding["kind"] for finding in report["findings"]} == {
        "few_cases",
        "vanished",
        "tiny",
        "below_token",
        "hidden_from_dice",
        "too_few_cases_for_folds",
    }


def test_volumes_slice_by_slice(dataset):
    report = inspected(dataset, "-c", "2d", "--min-voxels", "2", "-tr", "nnUNetTrainerCurriculum")
    of_case = {case["case"]: case["targets"]["spot"]["resampled"] for case in report["per_case"]}
    assert of_case == {"empty": [], "spots": [0, 1, 4]}
    assert report["network"]["token"] == [1, 1]
    assert report["targets"]["spot"]["resampled"]["below_min_voxels"] == 2


def test_without_the_raw_dataset(dataset):
    shutil.rmtree(dataset / "raw")
    report = inspected(dataset)
    assert report["only_preprocessed"]
    assert report["targets"]["spot"]["lesions"] == 2
    # Voxels of 3 x 2 x 2 mm.
    assert report["targets"]["spot"]["size"]["max"] == 96
    assert len(report["not_known"]) == 1


def test_before_there_are_plans(dataset):
    shutil.rmtree(dataset / "preprocessed")
    report = inspected(dataset)
    assert report["plan"] is report["targets"]["spot"]["resampled"] is None
    assert report["targets"]["spot"]["lesions"] == 3


def test_before_anything_is_preprocessed(dataset):
    shutil.rmtree(dataset / "preprocessed" / NAME / "nnUNetPlans_3d")
    resampled = inspected(dataset)["targets"]["spot"]["resampled"]
    assert (resampled["how"], resampled["vanished"]) == ("estimated", None)
    assert resampled["voxels"]["max"] == 8


def unnamed_value(dataset: Path) -> None:
    write(volume() * 7, dataset / "raw" / NAME / "labelsTr" / "spots.nii.gz")


def changed_shape(dataset: Path) -> None:
    write(volume()[1:], dataset / "raw" / NAME / "labelsTr" / "spots.nii.gz")


def damaged(dataset: Path) -> None:
    (dataset / "raw" / NAME / "labelsTr" / "spots.nii.gz").write_bytes(b"no image")


def missing(dataset: Path) -> None:
    (dataset / "raw" / NAME / "labelsTr" / "spots.nii.gz").unlink()


def no_labels_named(dataset: Path) -> None:
    (dataset / "raw" / NAME / "dataset.json").write_text('{"file_ending": ".nii.gz"}')


@pytest.mark.parametrize(
    ("break_it", "sentence"),
    [
        (unnamed_value, r"dataset.json names the values 0, 1, but spots has 7 too: if 7 stands for label 1"),
        (changed_shape, r"was made from an image of 6 x 16 x 16 voxels.*: run nnUNetv2_preprocess again"),
        (damaged, r"spots.nii.gz .*cut off"),
        (missing, r"1 of 2 training cases have no labels \(.*spots.nii.gz\): add the files"),
        (no_labels_named, r"dataset.json lacks labels"),
    ],
)
def test_what_cannot_be_read_is_said_in_a_sentence(dataset, break_it, sentence):
    break_it(dataset)
    with pytest.raises(SystemExit, match=f"nnUNetv2_mamba inspect: .*{sentence}"):
        inspected(dataset)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["-c", "3d_lowres"], "nnUNetPlans has no configuration 3d_lowres, only 2d, 3d_fullres"),
        (["-p", "myPlans"], "myPlans of Dataset902_Volumes does not exist"),
        (["-tr", "nnUNetTrainerNobody"], "there is no trainer nnUNetTrainerNobody"),
        (["--min-voxels", "0"], "--min-voxels is 0"),
        (["-d", "903"], "there is no dataset 903, raw or preprocessed"),
    ],
)
def test_wrong_arguments(dataset, arguments, sentence):
    with pytest.raises(SystemExit, match=sentence):
        inspected(dataset, *arguments)


def test_nothing_is_written_among_preprocessed_cases(dataset):
    with pytest.raises(SystemExit, match="holds preprocessed cases"):
        inspected(dataset, "-o", str(dataset / "preprocessed" / NAME / "nnUNetPlans_3d"))


def test_what_does_not_fit_together_is_warned_of(dataset):
    preprocessed = dataset / "preprocessed" / NAME
    (preprocessed / "nnUNetPlans_3d" / "empty_seg.b2nd").unlink()
    renamed = DESCRIPTION | {"labels": {"background": 0, "dot": 1}}
    (preprocessed / "dataset.json").write_text(json.dumps(renamed))
    kinds = {finding["kind"] for finding in inspected(dataset)["findings"]}
    assert {"not_preprocessed", "labels_changed"} <= kinds


def test_cases_that_dataset_json_lists(dataset, monkeypatch):
    labels = dataset / "elsewhere"
    (dataset / "raw" / NAME / "labelsTr").rename(labels)
    monkeypatch.setenv("SOMEWHERE", str(dataset))
    entries = {case: {"images": [], "label": f"$SOMEWHERE/elsewhere/{case}.nii.gz"} for case in ("spots", "empty")}
    found = Dataset.find("902").label_files(DESCRIPTION | {"dataset": entries})
    assert found is not None
    assert found[1] == {case: labels / f"{case}.nii.gz" for case in ("empty", "spots")}


def test_tokens_of_the_networks():
    three = PLANS["configurations"]["3d_fullres"]
    assert network_of(None, three).token == (1, 4, 4)
    assert network_of("nnUNetTrainerVMUNet", three).total_stride == (2, 8, 8)
    assert network_of("nnUNetTrainer", three).token == (1, 1, 1)
    segmamba = network_of("nnUNetTrainerSegMamba", three)
    assert (segmamba.token, segmamba.total_stride) == ((1, 1, 1), network_of("nnUNetTrainer", three).total_stride)
    named = {"strides": [[1, 1], [2, 2], [2, 2]], "conv_op": "torch.nn.modules.conv.Conv2d"}
    ours = {"network_class_name": "nnunetv2_mamba.architectures.VMUNet", "arch_kwargs": named}
    assert (network_of(None, {"architecture": ours}).name, network_of(None, {"architecture": ours}).token) == (
        "VMUNet",
        (2, 2),
    )
    unknown = {"architecture": three["architecture"] | {"arch_kwargs": {}}}
    assert network_of("nnUNetTrainer", unknown) is network_of(None, unknown) is None
