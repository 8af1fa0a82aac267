"""The whole demo with real nnU-Net, cut to two training steps."""

import json
import math

import numpy as np
import pytest
from PIL import Image

from nnunetv2_mamba.commands.demo import Demo
from nnunetv2_mamba.demo.dataset import DATASET_NAME, SAMPLE, cases_in, splits_by_eye


@pytest.mark.slow
@pytest.mark.nnunet
def test_demo_of_two_training_steps(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("NNUNETV2_MAMBA_ITERATIONS", "2")
    monkeypatch.setenv("NNUNETV2_MAMBA_VAL_ITERATIONS", "1")
    assert Demo(out=tmp_path / "out", epochs=1).run() == 0, capfd.readouterr().err
    folds = splits_by_eye(cases_in(SAMPLE / "labelsTr"))
    plans = json.loads((tmp_path / "out" / "nnUNet_preprocessed" / DATASET_NAME / "nnUNetPlans.json").read_text())
    assert plans["configurations"]["2d"]["patch_size"] == [128, 128]
    predictions = tmp_path / "out" / "predictions" / "nnUNetTrainerS3MambaFine"
    assert cases_in(predictions) == cases_in(SAMPLE / "labelsTs")
    for case in cases_in(predictions):
        prediction = np.asarray(Image.open(predictions / f"{case}.png"))
        assert prediction.shape == (128, 128)
        assert set(np.unique(prediction)) <= {0, 1, 2}
    summary = json.loads((predictions / "summary.json").read_text())
    assert len(summary["metric_per_case"]) == len(cases_in(SAMPLE / "labelsTs"))
    for target in json.loads((predictions / "lesion_summary.json").read_text())["targets"].values():
        expected = summary["mean"][str(target["labels"][0])]["Dice"]
        assert target["mean"]["DSC"] == (None if math.isnan(expected) else pytest.approx(expected))
    assert "<svg" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert (tmp_path / "out" / "demo.png").stat().st_size > 100_000
    assert f"The split file contains {len(folds)} splits" in capfd.readouterr().out
