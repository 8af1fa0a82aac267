"""The benchmarks of docs/performance.md: what they refuse and skip, and that the page shows their figures."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import contenders, image_size, limits, machine, networks, parity, runner, scan, scan_cells, step
from benchmarks.convolution import convolution_table, measure_convolutions
from benchmarks.limit_kernels import CHAINS, exponentials, multiply_adds
from benchmarks.machine import Goal, Options, goals_table
from benchmarks.performance_page import PAGES
from benchmarks.processes import extra_memory
from nnunetv2_mamba.ops.cpu.lanes import LANES
from nnunetv2_mamba.ops.scan.registry import REGISTRY

ROOT = Path(__file__).parents[2]
MIB = 2**20


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_figures_in_the_docs_are_the_kept_ones(page):
    text = page.read_text(encoding="utf-8")
    assert PAGES[page](text) == text


def test_every_trainer_but_the_controls_is_measured():
    files = {path.stem for path in (ROOT / "trainers").glob("nnUNetTrainer*.py")}
    measured = set(networks.trainer_classes()) - {networks.PLAIN, networks.RESIDUAL}
    assert {name for name in files if not name.endswith(networks.CONTROLS)} == measured


def test_networks_are_those_of_nnunets_own_plans():
    setting = networks.SETTINGS["3d"]
    with networks.workspace(setting):
        plain, residual = (
            networks.planned(setting, planner)["configurations"][setting.name]
            for _, planner in (networks.trainer_classes()[name] for name in (networks.PLAIN, networks.RESIDUAL))
        )
        ours = networks.make_network(networks.S3MAMBA, setting, False, "cpu")
    assert plain["patch_size"] == residual["patch_size"] == [40, 56, 40]
    assert plain["batch_size"] == residual["batch_size"] == 2
    assert plain["architecture"]["network_class_name"].endswith(networks.PLAIN)
    assert residual["architecture"]["network_class_name"].endswith(networks.RESIDUAL)
    assert type(ours).__name__ == "S3Mamba"
    assert {networks.PLAIN, networks.RESIDUAL, networks.S3MAMBA} <= set(networks.one_of_each_network())


def test_a_step_is_one_of_a_trainer_that_nnunet_has_started():
    setting = networks.Setting("2d", (16, 16))
    with networks.workspace(setting):
        trainer, run = step.started(networks.S3MAMBA, setting, "cpu")
        before = [parameter.clone() for parameter in trainer.network.parameters()]
        found = step.shares(run)
    assert sum(found.values()) == pytest.approx(1)
    assert found["selective scan"] > 0
    assert not all(map(torch.equal, before, trainer.network.parameters()))


def test_a_wrong_backend_stops_the_benchmarks(monkeypatch):
    monkeypatch.setattr(REGISTRY, "backends", {"numba": REGISTRY.backends["numba"]})
    assert parity.require_self_checks()["numba"] < REGISTRY.tolerance
    monkeypatch.setattr(type(REGISTRY.backends["numba"]), "self_check", lambda self, device: math.nan)
    with pytest.raises(SystemExit, match="numba is off by nan"):
        parity.require_self_checks()


@pytest.mark.parametrize(("outcome", "passes"), [("True", True), ("False", False)])
def test_a_failing_parity_test_stops_the_benchmarks(tmp_path, outcome, passes):
    (tmp_path / "test_parity.py").write_text(f"def test_parity():\n    assert {outcome}\n")
    if passes:
        parity.require_tests(tmp_path)
    else:
        with pytest.raises(SystemExit, match="The parity tests fail"):
            parity.require_tests(tmp_path)


def present() -> dict[str, contenders.Contender]:
    return {name: found for name, found in contenders.contenders("cpu").items() if found.absent() is None}


def test_contenders_agree_before_they_are_timed():
    errors = scan.agreement(present(), "cpu")
    assert {"numba", "torch", "reference"} <= set(errors)
    assert max(errors.values()) < 1e-5


def test_a_wrong_contender_stops_the_benchmark():
    right = contenders.contenders("cpu")["torch"]
    wrong = contenders.Contender("wrong", lambda inputs: right.scan(inputs) * 1.001, lambda: None)
    with pytest.raises(SystemExit, match="wrong is off by"):
        scan.agreement({"wrong": wrong}, "cpu")


@pytest.mark.parametrize(("name", "spatial"), [("numba", (20,)), ("torch", (4, 5))])
def test_a_cell_has_times_and_memory(name, spatial):
    figures = scan_cells.measure_cell(scan_cells.Cell(name, 8, spatial, 4))
    assert 0 < figures["forward_seconds"] < figures["both_seconds"] < 10
    assert {"forward_bytes", "both_bytes"} <= set(figures)


def test_convolutions_that_work_have_times_and_others_a_reason():
    figures = measure_convolutions("cpu", (1, 8, 20))
    layouts = [f"{name}, channels {order}" for name in ("numba", "torch") for order in ("first", "last")]
    assert set(figures["seconds"]) == {f"{row} {pass_}" for row in layouts for pass_ in ("forward", "both")}
    text = convolution_table(figures).text()
    assert "not measured: it runs on cuda, not on cpu" in text


def test_a_cell_is_skipped_for_time_and_memory_that_the_shorter_one_foretells():
    before = {"both_seconds": 1.5, "both_bytes": 2**30}
    assert scan_cells.too_much(None, 4, None) is None
    assert scan_cells.too_much(before, 2, 2**40) is None
    assert scan_cells.too_much(before, 4, 2**40) == "about 6 s a run"
    assert scan_cells.too_much(before | {"both_seconds": 0.1}, 8, 2**40) == "about 8 GiB"
    assert scan_cells.too_much(before | {"both_seconds": 0.1}, 2, 2**31) == "about 2 GiB"
    assert scan_cells.too_much({"skipped": "about 6 s a run"}, 4, None) == scan_cells.SKIPPED_TOO


def test_mamba_ssms_reference_is_read_without_its_imports(tmp_path, monkeypatch):
    file = tmp_path / "mamba_ssm" / "ops" / "selective_scan_interface.py"
    file.parent.mkdir(parents=True)
    file.write_text("import selective_scan_cuda\n\ndef selective_scan_ref(u, *others):\n    return F.relu(u)\n")
    monkeypatch.setenv(contenders.MAMBA_SSM_SOURCE, str(tmp_path))
    assert contenders.mamba_ssm_source() == file
    assert contenders.selective_scan_ref(file)(torch.tensor([-1.0, 2.0])).tolist() == [0, 2]
    file.write_text("def other():\n    pass\n")
    with pytest.raises(ValueError, match="has no function selective_scan_ref"):
        contenders.selective_scan_ref.__wrapped__(file)


def test_extra_memory_is_what_is_needed_beyond_the_results():
    def run() -> list[torch.Tensor]:
        temporary = torch.ones(64 * MIB // 4)
        return [temporary[: 32 * MIB // 4] * 2]

    found, _ = extra_memory(run)
    assert found is None or 60 * MIB < found < 70 * MIB


def test_the_limit_kernels_compute_what_they_count():
    rows = np.linspace(0, 1, CHAINS * LANES, dtype=np.float32).reshape(CHAINS, LANES)
    summed, raised = rows.copy(), rows.copy()
    multiply_adds(summed, 2)
    exponentials(raised, 2)
    np.testing.assert_allclose(summed, (rows * 0.999 + 0.001) * 0.999 + 0.001, rtol=1e-5)
    np.testing.assert_allclose(raised, 2 ** (2**rows), rtol=1e-5)


def test_the_limit_is_that_of_the_equations():
    rates = {"exponentials": 2.0, "multiply-adds": 8.0}
    assert limits.seconds_a_state("forward", rates) == 1 / 2 + 4 / 8
    assert limits.seconds_a_state("backward", rates) == 1 / 2 + 11 / 8
    assert limits.bytes_a_position("forward", 32, 16) == 12 + 4 * 16 / limits.CHUNK + 8 * 16 / 32


def test_the_exponent_is_that_of_a_power_law():
    pixels = [2**n for n in range(5)]
    assert image_size.exponents_of(pixels, [3 * x**1.5 for x in pixels]) == pytest.approx((1.5, 1.5))
    assert image_size.exponents_of(pixels, [1, 1, 4, 8, 16])[1] == pytest.approx(1.0)
    assert image_size.exponents_of(pixels[:2], [1, 4]) == pytest.approx((2.0, 2.0))


def test_a_missed_target_is_marked():
    targets = [Goal("a", 1.0, "<=", 2.0), Goal("b", 1.0, ">=", 2.0), Goal("c", None, "<=", 2.0)]
    rows = goals_table([vars(target) for target in targets]).rows
    assert [row[-1] for row in rows[1:]] == ["met", "**missed**", "**missed**"]


def test_figures_of_other_code_are_measured_again(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "RESULTS", tmp_path)
    path = machine.keep("scan", {})
    assert runner.is_current("scan", "cpu")
    kept = json.loads(path.read_text())
    kept["machine"]["code"] = "other"
    path.write_text(json.dumps(kept))
    assert not runner.is_current("scan", "cpu")
    assert not runner.is_current("scan", "cuda")


def test_a_quick_run_keeps_nothing_and_prints_every_table(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(machine, "RESULTS", tmp_path)
    monkeypatch.setattr(
        limits,
        "machine_rates",
        lambda scale: dict.fromkeys(("exponentials", "multiply-adds", "triad", "torch.exp"), 1e9),
    )
    runner.run("limits", Options(quick=True))
    assert "over the limit" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
