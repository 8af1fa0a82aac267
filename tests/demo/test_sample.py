"""The sample in the package is what the documentation says: small, complete, split by eye, attributed."""

import json
import re
from itertools import combinations, groupby

import numpy as np
import pytest
from PIL import Image

from nnunetv2_mamba.demo.dataset import SAMPLE, cases_in, eye_of

MEGABYTE = 1_000_000
CROP, STEP = 128, 32


def label_of(suffix: str, case: str) -> np.ndarray:
    return np.asarray(Image.open(SAMPLE / f"labels{suffix}" / f"{case}.png"))


def by_eye(suffix: str) -> dict[str, list[str]]:
    return {eye: list(cases) for eye, cases in groupby(cases_in(SAMPLE / f"labels{suffix}"), key=eye_of)}


def window(case: str) -> tuple[str, int, int]:
    """Tile, first row and first column, from a name such as IDRiD_01_y0136_x0496_r224c160."""
    tile, row, column = re.fullmatch(r"(IDRiD_\d\d_y\d{4}_x\d{4})_r(\d{3})c(\d{3})", case).groups()
    return tile, int(row), int(column)


def test_is_small():
    assert sum(file.stat().st_size for file in SAMPLE.rglob("*") if file.is_file()) <= 4 * MEGABYTE


def test_is_attributed():
    attribution = (SAMPLE / "ATTRIBUTION.txt").read_text()
    for part in ("IDRiD", "Porwal", "doi:10.21227/H25W98", "Creative Commons Attribution 4.0", "Changed"):
        assert part in attribution


def test_description_fits_files():
    description = json.loads((SAMPLE / "dataset.json").read_text())
    assert description["numTraining"] == len(cases_in(SAMPLE / "labelsTr"))
    assert description["labels"] == {"background": 0, "hard_exudate": 1, "haemorrhage": 2}
    assert len(description["channel_names"]) == 3


@pytest.mark.parametrize("suffix", ["Tr", "Ts"])
def test_images_have_labels_of_their_size(suffix):
    cases = cases_in(SAMPLE / f"labels{suffix}")
    assert cases == [file.stem.removesuffix("_0000") for file in sorted((SAMPLE / f"images{suffix}").iterdir())]
    for case in cases:
        image = np.asarray(Image.open(SAMPLE / f"images{suffix}" / f"{case}_0000.png"))
        label = label_of(suffix, case)
        assert image.shape == (CROP, CROP, 3)
        assert image.dtype == label.dtype == np.uint8
        assert label.shape == (CROP, CROP)
        assert set(np.unique(label)) <= {0, 1, 2}


@pytest.mark.parametrize("suffix", ["Tr", "Ts"])
def test_lesions_fill_no_crop_by_more_than_the_rule_allows(suffix):
    assert all((label_of(suffix, case) > 0).mean() <= 0.4 for case in cases_in(SAMPLE / f"labels{suffix}"))


@pytest.mark.parametrize("suffix", ["Tr", "Ts"])
def test_every_eye_has_up_to_six_crops_of_both_classes_and_at_most_one_without(suffix):
    eyes = by_eye(suffix)
    assert all(1 <= len(cases) <= 6 for cases in eyes.values()), eyes
    for eye, cases in eyes.items():
        classes = [set(np.unique(label_of(suffix, case))) - {0} for case in cases]
        assert set().union(*classes) == {1, 2}, eye
        assert classes.count(set()) <= 1, eye


@pytest.mark.parametrize("suffix", ["Tr", "Ts"])
def test_windows_lie_on_the_grid_and_those_of_one_eye_do_not_overlap(suffix):
    for cases in by_eye(suffix).values():
        windows = [window(case) for case in cases]
        assert all(row % STEP == 0 and column % STEP == 0 for _, row, column in windows), cases
        for (tile, row, column), (other, its_row, its_column) in combinations(windows, 2):
            apart = abs(row - its_row) >= CROP or abs(column - its_column) >= CROP
            assert tile != other or apart, cases


def test_no_eye_is_both_trained_on_and_held_out():
    assert by_eye("Tr").keys() == {f"IDRiD_{number:02}" for number in range(1, 17)}
    assert by_eye("Ts").keys() == {f"IDRiD_{number:02}" for number in range(17, 21)}
