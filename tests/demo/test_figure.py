"""The figure renders whatever was predicted, and its tiles are chosen without the prediction."""

import math

import numpy as np
import pytest
from PIL import Image

from nnunetv2_mamba.demo.dataset import SAMPLE, cases_in
from nnunetv2_mamba.demo.figure import TILES, draw, spread_over_lesion_area
from nnunetv2_mamba.demo.scores import DemoScores

CASES = cases_in(SAMPLE / "labelsTs")


def area(case):
    return int((np.asarray(Image.open(SAMPLE / "labelsTs" / f"{case}.png")) > 0).sum())


@pytest.fixture
def render(tmp_path):
    def render(predict) -> np.ndarray:
        for case in CASES:
            label = np.asarray(Image.open(SAMPLE / "labelsTs" / f"{case}.png"))
            Image.fromarray(predict(label)).save(tmp_path / f"{case}.png")
        dice = dict.fromkeys(CASES, 0.5) | {CASES[0]: math.nan}
        scores = [
            DemoScores(label, dice, 0.5, math.nan, lesions=4, true_positives=3, false_positives=0.5)
            for label in ("hard exudate", "haemorrhage")
        ]
        draw(SAMPLE, tmp_path, scores=scores, trainer="nnUNetTrainerS3Mamba", out=tmp_path / "demo.png")
        return np.asarray(Image.open(tmp_path / "demo.png").convert("RGB")).astype(int)

    return render


def test_tiles_are_spread_from_least_to_most_lesion():
    areas = [area(case) for case in spread_over_lesion_area(SAMPLE / "labelsTs")]
    assert len(areas) == TILES
    assert areas == sorted(areas)
    everything = [area(case) for case in CASES]
    assert areas[0] == min(value for value in everything if value)
    assert areas[-1] == max(everything)


def test_few_tiles_with_lesions_are_all_shown(tmp_path):
    for index in range(3):
        label = np.zeros((8, 8), np.uint8)
        label[:index, :3] = 1
        Image.fromarray(label).save(tmp_path / f"case{index}.png")
    assert spread_over_lesion_area(tmp_path) == ["case1", "case2"]


def test_perfect_empty_and_full_predictions_render_differently(render):
    perfect = render(lambda label: label)
    empty = render(np.zeros_like)
    full = render(lambda label: np.full_like(label, 2))
    assert perfect.shape == empty.shape == full.shape
    assert perfect.shape[0] > 800
    assert perfect.shape[1] > 1200
    assert (perfect != empty).any(axis=-1).mean() > 0.001
    # The predictions take a fifth of the picture, so one that is all haemorrhage tints about that much of it.
    magenta = (full - empty)[..., 0] - (full - empty)[..., 1]
    assert (magenta > 30).mean() > 0.1
