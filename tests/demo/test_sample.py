"""The sample in the package is what the documentation says: small, complete, split by eye, attributed."""

import json

import numpy as np
import pytest
from PIL import Image

from nnunetv2_mamba.demo.dataset import SAMPLE, cases_in, eye_of

MEGABYTE = 1_000_000


def test_is_small():
    assert sum(file.stat().st_size for file in SAMPLE.rglob("*") if file.is_file()) <= 4 * MEGABYTE


def test_is_attributed():
    attribution = (SAMPLE / "ATTRIBUTION.txt").read_text()
    for part in ("IDRiD", "Porwal", "doi:10.21227/H25W98", "Creative Commons Attribution 4.0", "Changed"):
        assert part in attribution


def test_description_fits_files():
    description = json.loads((SAMPLE / "dataset.json").read_text())
    assert description["numTraining"] == len(cases_in(SAMPLE / "labelsTr")) == 80
    assert len(cases_in(SAMPLE / "labelsTs")) == 20
    assert description["labels"] == {"background": 0, "hard_exudate": 1, "haemorrhage": 2}
    assert len(description["channel_names"]) == 3


@pytest.mark.parametrize("suffix", ["Tr", "Ts"])
def test_images_have_labels_of_their_size(suffix):
    cases = cases_in(SAMPLE / f"labels{suffix}")
    assert cases == [file.stem.removesuffix("_0000") for file in sorted((SAMPLE / f"images{suffix}").iterdir())]
    for case in cases:
        image = np.asarray(Image.open(SAMPLE / f"images{suffix}" / f"{case}_0000.png"))
        label = np.asarray(Image.open(SAMPLE / f"labels{suffix}" / f"{case}.png"))
        assert image.shape == (128, 128, 3)
        assert image.dtype == label.dtype == np.uint8
        assert label.shape == (128, 128)
        assert set(np.unique(label)) <= {0, 1, 2}
        assert (label > 0).mean() <= 0.4


@pytest.mark.parametrize("suffix", ["Tr", "Ts"])
def test_every_eye_has_each_kind_of_crop(suffix):
    kinds: dict[str, set[str]] = {}
    for case in cases_in(SAMPLE / f"labels{suffix}"):
        label = np.asarray(Image.open(SAMPLE / f"labels{suffix}" / f"{case}.png"))
        names = [name for name, present in (("EX", (label == 1).any()), ("HE", (label == 2).any())) if present]
        kinds.setdefault(eye_of(case), set()).update(names or ["free"])
    assert all(found == {"EX", "HE", "free"} for found in kinds.values()), kinds


def test_no_eye_is_both_trained_on_and_held_out():
    trained, held_out = ({eye_of(case) for case in cases_in(SAMPLE / f"labels{suffix}")} for suffix in ("Tr", "Ts"))
    assert trained == {f"IDRiD_{number:02}" for number in range(1, 17)}
    assert held_out == {f"IDRiD_{number:02}" for number in range(17, 21)}
