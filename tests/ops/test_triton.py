"""The Triton kernels against the reference, in Triton's interpreter: see triton_interpreter.py, which has the cases."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nnunetv2_mamba.ops.backends import Call
from nnunetv2_mamba.ops.scan.backends.triton import TritonBackend

pytest.importorskip("triton")

PARITY = (
    "plain", "one position", "line", "volume", "groups", "batch", "wide", "blocks", "many states", "the most states",
    "channels first", "sliced", "float16", "bfloat16", "float16 channels first", "offsets beyond 32 bits", "without D",
    "without delta_bias", "without z", "without softplus", "without any option",
)  # fmt: skip
CUTS = (
    "one segment", "many segments", "more segments than joined at once", "one slot", "one slot and one segment",
    "many segments and a gate", "inference", "empty batch",
)  # fmt: skip
BROKEN = (
    "constant of the softplus", "slope of the softplus", "state of the last chunk not handed on",
    "gradient of the next chunk not handed on", "state before and after confused", "wrong visit handed on",
    "segments not joined",
)  # fmt: skip
PUBLIC = {"selective_scan": 2e-6, "selective_scan in float16": 1e-3, "cross_selective_scan": 2e-6}


@pytest.fixture(scope="module")
def interpreted():
    """What came out of all cases: errors by tensor, or a traceback."""
    variables = os.environ | {"OMP_NUM_THREADS": "1"}
    variables.pop("NNUNETV2_MAMBA_BACKEND", None)
    run = subprocess.run(
        [sys.executable, "-m", "tests.ops.triton_interpreter"],
        cwd=Path(__file__).parents[2], env=variables, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_every_case_is_looked_at(interpreted):
    assert set(interpreted) == {*PARITY, *CUTS, *BROKEN, *PUBLIC, "nothing wrong"}


@pytest.mark.parametrize("case", [*PARITY, *CUTS])
def test_matches_reference(interpreted, case):
    assert isinstance(interpreted[case], dict), interpreted[case]
    for name, error in interpreted[case].items():
        assert error < 2e-6, name


@pytest.mark.parametrize(("case", "allowed"), PUBLIC.items())
def test_serves_the_public_functions(interpreted, case, allowed):
    assert isinstance(interpreted[case], dict), interpreted[case]
    for name, error in interpreted[case].items():
        assert error < allowed, name


@pytest.mark.parametrize("case", BROKEN)
def test_a_wrong_kernel_fails_its_self_check(interpreted, case):
    assert isinstance(interpreted[case], dict), interpreted[case]
    assert interpreted["nothing wrong"]["chosen"] == "triton"
    assert interpreted["nothing wrong"]["error"] < 2e-6
    assert interpreted[case]["chosen"] == "reference"
    assert interpreted[case]["error"] > 1e-3


@pytest.mark.parametrize("interpret", ["", "0"])
def test_says_why_it_is_out(monkeypatch, interpret):
    monkeypatch.setenv("TRITON_INTERPRET", interpret)
    backend = TritonBackend()
    assert "not on cpu" in backend.unavailable("cpu")
    assert "not on mps" in backend.unavailable("mps")
    assert "float64" in backend.unsupported(Call("cuda", torch.float64))


def test_a_missing_triton_is_a_reason(monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "nnunetv2_mamba.ops.scan.triton_forward", raising=False)
    assert "triton is not installed" in TritonBackend().unavailable("cuda")


def test_a_triton_that_does_not_import_is_a_reason(monkeypatch):
    def broken(name):
        raise OSError("a library is missing:\n  libcuda.so\n")

    monkeypatch.setattr(importlib, "import_module", broken)
    assert TritonBackend().unavailable("cuda") == "triton does not import: a library is missing: libcuda.so"


def test_rocm_is_refused(monkeypatch):
    monkeypatch.setattr(torch.version, "hip", "6.4")
    assert "ROCm" in TritonBackend().unavailable("cuda")


def test_an_old_gpu_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 0))
    assert "7.0" in TritonBackend().unavailable("cuda")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    assert TritonBackend().unavailable("cuda") is None
