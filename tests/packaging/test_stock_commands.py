"""NnU-Net's own commands train and predict with the installed wheel, with no variable but nnU-Net's three folders."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SHORT = {
    "NNUNETV2_MAMBA_EPOCHS": "1",
    "NNUNETV2_MAMBA_ITERATIONS": "1",
    "NNUNETV2_MAMBA_VAL_ITERATIONS": "1",
    "nnUNet_n_proc_DA": "1",
    "nnUNet_def_n_proc": "1",
    "OMP_NUM_THREADS": "1",
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """NnU-Net's three folders, the raw one with five images of bright squares."""
    root = tmp_path_factory.mktemp("nnunet")
    dataset = root / "nnUNet_raw" / "Dataset007_Squares"
    for name in ("imagesTr", "labelsTr"):
        (dataset / name).mkdir(parents=True)
    generator = np.random.default_rng(0)
    for case in range(5):
        image = generator.integers(0, 80, (64, 64, 3), dtype=np.uint8)
        label = np.zeros((64, 64), dtype=np.uint8)
        row, column = generator.integers(0, 48, 2)
        label[row : row + 12, column : column + 12] = 1
        image[label == 1] += 120
        Image.fromarray(image).save(dataset / "imagesTr" / f"case_{case}_0000.png")
        Image.fromarray(label).save(dataset / "labelsTr" / f"case_{case}.png")
    (dataset / "dataset.json").write_text(
        json.dumps(
            {
                "channel_names": {"0": "R", "1": "G", "2": "B"},
                "labels": {"background": 0, "square": 1},
                "numTraining": 5,
                "file_ending": ".png",
            }
        )
    )
    return {name: str(root / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}


@pytest.mark.nnunet
@pytest.mark.slow
def test_train_and_predict_from_the_wheel(wheel_installation, folders, tmp_path):
    def stock(name: str, *arguments: str) -> None:
        result = wheel_installation.run(wheel_installation.script(name), *arguments, **folders, **SHORT)
        assert result.returncode == 0, f"{name}\n{result.stdout[-2000:]}\n{result.stderr[-4000:]}"

    images, predictions = tmp_path / "images", tmp_path / "predictions"
    images.mkdir()
    shutil.copy(Path(folders["nnUNet_raw"], "Dataset007_Squares", "imagesTr", "case_0_0000.png"), images)
    ours = ("-tr", "nnUNetTrainerS3Mamba", "-device", "cpu")
    stock("nnUNetv2_plan_and_preprocess", "-d", "7", "-c", "2d", "-np", "1", "-npfp", "1")
    stock("nnUNetv2_train", "7", "2d", "0", *ours)
    stock(
        *("nnUNetv2_predict", "-i", str(images), "-o", str(predictions), "-d", "7", "-c", "2d", "-f", "0"),
        *("-npp", "1", "-nps", "1", *ours),
    )
    prediction = np.asarray(Image.open(predictions / "case_0.png"))
    assert prediction.shape == (64, 64)
    assert set(np.unique(prediction)) <= {0, 1}


def test_the_commands_above_cannot_reach_the_checkout(wheel_installation):
    call = "import nnunetv2_mamba.architectures, nnunetv2_mamba.trainers as t; print(t.__path__[0])"
    result = wheel_installation.run("-c", call)
    assert result.stdout.strip() == str(wheel_installation.package / "trainers"), result.stderr
    assert str(wheel_installation.python) != sys.executable
