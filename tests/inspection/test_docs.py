"""What docs/inspect.md explains is what the file has."""

from pathlib import Path

import numpy as np

from nnunetv2_mamba.inspection import findings
from nnunetv2_mamba.inspection.summary import QUANTILES, PlannedConfiguration, Setting

PAGE = (Path(__file__).parents[2] / "docs" / "inspect.md").read_text()


def test_every_number_is_explained(summary_of):
    summary = summary_of(
        {"a": np.eye(3)}, setting=Setting(2, PlannedConfiguration("nnUNetPlans", "2d", (1.0, 1.0), (8, 8)))
    )
    target = summary["targets"]["blob"]
    settings = {"dimensions", "connectivity", "min_voxels", "plan", "network", "only_preprocessed", "targets"}
    keys = {*(summary.keys() - settings), *(target.keys() - {"labels"}), *target["resampled"], *QUANTILES}
    assert {key for key in keys if f"`{key}`" not in PAGE} == set()


def test_thresholds_are_those_of_the_code():
    assert f"fewer than {findings.FEW_CASES} cases" in PAGE
    assert f"at least {findings.NOTABLE_SHARE:.0%}".replace("%", " %") in PAGE
    assert f"less than {findings.HIDDEN_SHARE:.0%}".replace("%", " %") in PAGE
