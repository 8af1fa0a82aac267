"""Cases on several processes, the text and the picture."""

import numpy as np
import pytest
from PIL import Image

from nnunetv2_mamba.evaluation import parallel
from nnunetv2_mamba.evaluation.targets import Target
from nnunetv2_mamba.folders.preprocessed import Preprocessed
from nnunetv2_mamba.inspection.case import InspectionFiles, Job
from nnunetv2_mamba.inspection.plot import plot, sizes_seen
from nnunetv2_mamba.inspection.summary import PlannedConfiguration, PlannedNetwork, Setting
from nnunetv2_mamba.inspection.survey import survey
from nnunetv2_mamba.inspection.text import WIDTH, render
from tests.inspection.conftest import save_preprocessed

TOKENS = PlannedNetwork("nnUNetTrainerS3Mamba", "S3Mamba", (4, 4), (32, 32))
FINE, COARSE = (PlannedConfiguration("nnUNetPlans", "2d", (width, width), (64, 64)) for width in (1.0, 3.0))


def squares(*sides: int) -> np.ndarray:
    """One square of each size, apart from each other."""
    image = np.zeros((max(sides) + 2, sum(sides) + 2 * len(sides)), dtype=int)
    left = 1
    for side in sides:
        image[1 : 1 + side, left : left + side] = 1
        left += side + 2
    return image


def test_processes_give_what_one_gives_in_the_same_order(tmp_path, monkeypatch):
    for index in range(6):
        save_preprocessed(tmp_path, f"case{index}", squares(index + 1)[None], (1, 9, 9), (999, 1, 1))
    reader = Preprocessed(tmp_path, (0, 1, 2), (1.0, 1.0))
    job = Job(reader, (Target("blob", (1,)),))
    cases = [InspectionFiles(*case) for case in reader.files().items()]
    alone = survey(job, cases)
    monkeypatch.setattr(parallel, "INLINE_SECONDS", 0.0)
    together = survey(job, cases, processes=2)
    sizes = [case.targets["blob"].annotated.voxels.tolist() for case in together]
    assert sizes == [case.targets["blob"].annotated.voxels.tolist() for case in alone]
    assert sizes == [[(index + 1) ** 2] for index in range(6)]
    assert [case.case for case in together] == [files.case for files in cases]


@pytest.fixture
def report_of(summary_of):
    def report_of(setting: Setting | None = None, findings=(), **job) -> dict:
        arrays = {"a": squares(1, 2, 3, 4, 5), "b": squares(6, 7), "c": np.zeros((9, 9), dtype=int)}
        about = {"dataset": "Dataset001_Squares", "label_folder": "labelsTr", "not_known": [], "findings": findings}
        return about | summary_of(arrays, setting=setting or Setting(10), **job)

    return report_of


def line_with(text: str, start: str) -> list[str]:
    return next(line for line in text.splitlines() if line.startswith(start)).removeprefix(start).split()


def test_text(report_of):
    text = render(report_of(Setting(10, COARSE, TOKENS), [{"text": "many words " * 30}]))
    assert line_with(text, "cases with / without") == ["2", "/", "1"]
    assert line_with(text, "lesions  ") == ["7"]
    assert line_with(text, "  smallest to largest") == ["1", "to", "49"]
    assert line_with(text, "fewer than 10 px as annotated") == ["3", "(42.9%)"]
    # A ninth of the pixels is left: 0.1 to 5.4.
    assert line_with(text, "  fewer than 10 px") == ["7", "(100.0%)"]
    assert "after resampling (estimated)" in text
    assert "spacing 3 x 3 px" in text
    assert "1 warning\n1. many words" in text
    assert max(map(len, text.splitlines())) <= WIDTH


def test_text_without_plans_and_with_many_targets(report_of):
    names = [f"structure_{index}" for index in range(1, 11)] + ["a_structure_with_a_long_name"]
    targets = tuple(Target(name, (index,)) for index, name in enumerate(names, 1))
    text = render(report_of(targets=targets))
    assert "none yet" in text
    assert "no warnings" in text
    assert "after resampling" not in text
    assert all(name in text for name in names[:-1])
    assert "a_struct..ong_name" in text
    assert max(map(len, text.splitlines())) <= WIDTH


def test_sizes_seen(report_of):
    after, before = sizes_seen(report_of(Setting(10, COARSE, TOKENS)), "blob")
    assert before.tolist() == [1, 4, 9, 16, 25, 36, 49]
    assert after == pytest.approx(before / 9)


def drawn(report, path) -> np.ndarray:
    plot(report, path)
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def share(picture: np.ndarray, colour: tuple[int, int, int]) -> float:
    return float((np.abs(picture - colour).max(axis=-1) < 8).mean())


def test_picture(report_of, tmp_path):
    orange, blue = (230, 159, 0), (0, 114, 178)
    fine = drawn(report_of(Setting(2, FINE, TOKENS)), tmp_path / "fine.png")
    coarse = drawn(report_of(Setting(1, COARSE, TOKENS)), tmp_path / "coarse.png")
    assert fine.shape == coarse.shape
    assert share(fine, blue) > 0.02
    assert share(fine, orange) > 0.02
    # All of them are smaller than a token there; what stays is the patch of the legend.
    assert share(coarse, blue) < 0.002 < share(coarse, orange)


def test_picture_of_nothing_and_of_many(report_of, summary_of, tmp_path):
    ghosts = tuple(Target(f"structure_{index}", (index,)) for index in range(2, 4))
    assert drawn(report_of(targets=ghosts), tmp_path / "ghosts.png").shape[0] > 100
    six = tuple(Target(f"structure_{index}", (index,)) for index in range(1, 7))
    arrays = {"a": np.arange(1, 7).repeat(3)[None]}
    report = summary_of(arrays, targets=six) | {"dataset": "Dataset002_Many"}
    assert drawn(report, tmp_path / "many.png").shape[1] > 2000
