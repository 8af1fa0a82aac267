"""The protocol's groups by size, from files that have rounded the sizes."""

import re
from functools import partial

import numpy as np
import pytest

from nnunetv2_mamba.evaluation.folder import CaseFiles, Settings, evaluate_files
from nnunetv2_mamba.evaluation.metrics import pooled
from nnunetv2_mamba.evaluation.protocol import Protocol, Strata
from nnunetv2_mamba.evaluation.results import read_evaluation
from nnunetv2_mamba.report.reported_model import ReportedModel
from nnunetv2_mamba.report.scores import ModelResult, ModelScores
from nnunetv2_mamba.report.statistics import Resampling
from nnunetv2_mamba.report.strata import strata_table
from tests.report.models import TARGETS, ArrayReader, squares


class OddSpacing(ArrayReader):
    """Pixels whose size has more digits than a file keeps."""

    spacing = (999.0, 1 / 3, 0.7)


@pytest.fixture
def table(tmp_path):
    def table(strata):
        """Table of seven cases, each with lesions of 1, 4, 9 and 16 pixels, of which those of 4 are missed in some."""
        files = []
        for number in range(7):
            lesions = [(2, 2, 1, 1), (2, 10, 2, 1), (10, 2, 3, 1), (10, 10, 4, 1)]
            np.save(tmp_path / f"r{number}.npy", squares(lesions))
            np.save(tmp_path / f"p{number}.npy", squares(lesions[2 if number % 2 else 1 :]))
            files.append(CaseFiles(f"case_{number}", tmp_path / f"r{number}.npy", tmp_path / f"p{number}.npy"))
        protocol = Protocol(strata=strata)
        evaluate_files(files, Settings(OddSpacing(), TARGETS[:1], protocol)).write(tmp_path)
        evaluation = read_evaluation(tmp_path)
        source = ReportedModel("model", evaluation.summary, evaluation.lesions)
        cases = source.cases("lesion")
        resampling = Resampling(cases.names, draws=100)
        scores = ModelScores(cases, resampling, partial(pooled, protocol=protocol))
        result = ModelResult(
            place=0,
            name="model",
            entry=source.summary["targets"]["lesion"],
            scores=scores,
            resampling=resampling,
            lesions=source.lesions("lesion"),
        )
        return strata_table([result], source.summary["protocol"], source.size_unit)

    return table


@pytest.mark.parametrize(
    "strata",
    [
        Strata(),
        Strata(by="quantiles", bounds=(0.25, 0.5)),
        Strata(by="voxels", bounds=(1, 4)),
        Strata(by="size", bounds=(0.7 / 3, 2.8 / 3)),
    ],
    ids=["thirds", "quarters", "voxels", "size"],
)
def test_recall_is_that_of_the_counts_beside_it(table, strata):
    rows = table(strata).rows
    assert len(rows) == 3
    for _, _, counts, recall, *_ in rows:
        found, lesions = map(int, re.match(r"(\d+) of (\d+)", counts.text).groups())
        assert float(recall.text) == pytest.approx(found / lesions, abs=5e-4)
    assert sum(int(row[2].text.split()[-1]) for row in rows) == 28


def test_ranges_are_said_in_the_unit_of_the_bounds(table):
    assert [row[1].note for row in table(Strata(by="voxels", bounds=(1, 4))).rows] == [
        "up to 1 voxel",
        "1 to 4 voxels",
        "above 4 voxels",
    ]
    assert all(row[1].note.endswith("mm²") for row in table(Strata()).rows)


def test_images_that_are_grouped_have_no_interval(table):
    rows = table(Strata(level="image", bounds=(0.3, 0.6))).rows
    assert all(row[3].note in ("", "†") for row in rows)
