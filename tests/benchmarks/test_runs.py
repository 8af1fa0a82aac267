"""Which trainings there are, in which order, and what becomes of one that fails."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from benchmarks.ablation import runs
from benchmarks.ablation.data import DATASETS, AblationError, Budget, prepare, with_patches
from benchmarks.ablation.rows import BASELINE, HALVES, PARTS, ROWS, STOCK, TRAINERS, pairs
from benchmarks.ablation.runs import Run, planned, results, train_all
from benchmarks.ablation.training import trainer_class
from nnunetv2_mamba.building_blocks.enhanced_channel_feature import EnCFBlock
from nnunetv2_mamba.building_blocks.tcma import TCMA
from nnunetv2_mamba.plugin import trainer_names
from nnunetv2_mamba.training.curriculum import CurriculumMixin

BUDGET = Budget(2, 3, 64, 2)
BUDGETS = {"dsb2018_nuclei_small": BUDGET}


def test_eight_rows_have_a_trainer_of_ours_each():
    assert len(ROWS) == 8 == len({TRAINERS[row] for row in ROWS})
    assert {TRAINERS[row] for row in ROWS} <= set(trainer_names())
    assert TRAINERS[BASELINE] == "nnUNetTrainerVMUNet"


def test_halves_of_encf_differ_from_the_baseline_in_one_thing_each():
    parts = {row: trainer_class(row).network_parts for row in HALVES}
    attention, no_convolution = parts.values()
    assert attention == {"tcma": False, "channel_attention": True, "depthwise_conv": True, "side_heads": True}
    assert no_convolution == {**attention, "channel_attention": False, "depthwise_conv": False}


@pytest.mark.parametrize("row", ROWS)
def test_a_trainer_has_the_parts_of_its_row(row):
    trainer = trainer_class(row)
    planned = {"strides": [[1, 1], *[[2, 2]] * 3], "conv_op": "torch.nn.modules.conv.Conv2d"}
    architecture = {"network_class_name": "U", "arch_kwargs": planned, "_kw_requires_import": ["conv_op"]}
    configuration = SimpleNamespace(configuration={"architecture": architecture, "spacing": [1.0, 1.0]})
    network = trainer.build_network_architecture(None, configuration, 3, 2)
    kinds = {type(module) for module in network.modules()}
    assert (EnCFBlock in kinds) == ("EnCF" in ROWS[row])
    assert (TCMA in kinds) == ("TCMA" in ROWS[row])
    assert issubclass(trainer, CurriculumMixin) == ("CL" in ROWS[row])


@pytest.mark.parametrize("part", PARTS)
def test_four_pairs_differ_in_one_part_only(part):
    found = pairs(part)
    assert len(found) == 4
    for without, having in found:
        assert set(ROWS[having]) - set(ROWS[without]) == {part}
        assert set(ROWS[without]) < set(ROWS[having])


def test_all_rows_of_a_seed_come_before_the_next_seed():
    order = planned(list(DATASETS), list(ROWS), 3)
    assert len(order) == len(set(order)) == 3 * 2 * 8
    assert [run.seed for run in order] == [0] * 16 + [1] * 16 + [2] * 16


def test_patches_change_and_nothing_else():
    entry = {"patch_size": [512, 512], "batch_size": 12, "data_identifier": "nnUNetPlans_2d"}
    plans = {"plans_name": "nnUNetPlans", "configurations": {"2d": entry}}
    derived = with_patches(plans, BUDGET)
    assert derived["configurations"]["2d"] == entry | {"patch_size": [64, 64], "batch_size": 2}
    assert plans["configurations"]["2d"]["batch_size"] == 12


def test_a_folder_without_datasets_is_named(tmp_path):
    with pytest.raises(AblationError, match=r"dsb2018_nuclei_small lacks dataset.json, imagesTr.*--data"):
        prepare(tmp_path, tmp_path / "work", "dsb2018_nuclei_small", BUDGET)


@pytest.fixture
def started(monkeypatch):
    """Runs whose process does something short: the curriculum crashes, all others write a result."""
    order = []

    def start(run, work, device, jobs):
        order.append(run)
        file = run.file(work)
        file.parent.mkdir(parents=True, exist_ok=True)
        code = f"import sys, pathlib; pathlib.Path({str(file)!r}).write_text('{{}}')"
        if run.row == "CL":
            code = "raise MemoryError('too large')"
        with run.file(work, ".log").open("w") as log:
            return subprocess.Popen([sys.executable, "-c", code], stdout=log, stderr=subprocess.STDOUT)

    monkeypatch.setattr(runs, "_start", start)
    monkeypatch.setattr(runs, "prepare", lambda *_: None)
    return order


def test_a_failed_training_is_kept_and_the_others_go_on(tmp_path, started):
    order = planned(["dsb2018_nuclei_small"], [BASELINE, "CL", STOCK], 1)
    train_all(tmp_path, tmp_path / "work", order, BUDGETS, "cpu", jobs=2)
    finished = dict(results(tmp_path / "work"))
    assert finished[Run("dsb2018_nuclei_small", "CL", 0)] == {"failed": "MemoryError: too large"}
    assert finished[Run("dsb2018_nuclei_small", STOCK, 0)] == {}
    assert started == order


def test_what_is_done_is_not_done_again(tmp_path, started):
    order = planned(["dsb2018_nuclei_small"], [BASELINE, "CL"], 1)
    for retry in (False, False, True):
        train_all(tmp_path, tmp_path / "work", order, BUDGETS, "cpu", retry=retry)
    assert [run.row for run in started] == [BASELINE, "CL", "CL"]


def test_another_budget_needs_another_folder(tmp_path):
    runs.claim(tmp_path, BUDGETS)
    runs.claim(tmp_path, BUDGETS)
    with pytest.raises(AblationError, match="name another folder"):
        runs.claim(tmp_path, {"dsb2018_nuclei_small": Budget(3, 3, 64, 2)})
    runs.claim(tmp_path, {"idrid_fundus_tiles": Budget(3, 3, 64, 2)})
    assert runs.kept_budgets(tmp_path) == BUDGETS | {"idrid_fundus_tiles": Budget(3, 3, 64, 2)}
