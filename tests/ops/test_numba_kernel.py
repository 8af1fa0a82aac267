"""Kernels compiled for another CPU than the newest, in new processes: right, announced once, then found on disk."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from numba.core.codegen import get_host_cpu_features

CHECK = """
import torch
from nnunetv2_mamba.ops import causal_conv1d, selective_scan
from nnunetv2_mamba.ops.scan.backends.numba import NumbaBackend
from nnunetv2_mamba.ops.cpu.lanes import LANES
torch.manual_seed(0)
inputs = [torch.randn(2, 70, 45), torch.randn(2, 70, 45), -torch.rand(70, 6), *torch.randn(2, 2, 6, 45)]
results = []
for backend in ("reference", "numba"):
    leaves = [tensor.clone().requires_grad_() for tensor in inputs]
    y = selective_scan(*leaves, delta_softplus=True, backend=backend)
    results.append([y, *torch.autograd.grad(y.square().sum(), leaves)])
contiguous = max(float((a - b).abs().max() / a.abs().max()) for a, b in zip(*results))
extremes = torch.tensor([-3e37, -1e4, 1e4, float("inf")]).expand(1, 1, 4)
silu = causal_conv1d(extremes, torch.ones(1, 1), activation="silu", backend="numba")
print(LANES, NumbaBackend().self_check("cpu"), contiguous, 0.0 if torch.equal(silu, extremes.clamp(min=0)) else 1.0)
"""
AVX2 = "+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+avx,+avx2,+fma,+f16c,+bmi,+bmi2,+lzcnt,+movbe"
ANNOUNCEMENT = "compiling for this CPU"


def _check(cache):
    environment = os.environ | {"NUMBA_CACHE_DIR": str(cache), "NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": AVX2}
    command = [sys.executable, "-c", CHECK]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=True)


@pytest.mark.slow
@pytest.mark.skipif("+avx2" not in get_host_cpu_features(), reason="compiles for a CPU with AVX2, which this is not")
def test_a_cpu_without_avx512(tmp_path):
    first, second = _check(tmp_path), _check(tmp_path)
    lanes, *errors = first.stdout.split()
    assert lanes == "8"
    assert all(float(error) < 1e-5 for error in errors)
    assert ANNOUNCEMENT + ", once: scan_forward" in first.stderr
    assert second.stdout == first.stdout
    assert ANNOUNCEMENT not in second.stderr


ALONE = {"PYTHONPATH": str(Path(__file__).parent)}
"""Where kernels_alone is found."""


def test_other_sources_make_other_code(tmp_path):
    """For every kernel of a file, and code of both is kept."""
    (tmp_path / "kernels.py").write_text(KERNELS)
    environment = os.environ | ALONE | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}

    def run_with(factor):
        (tmp_path / "numba_factor.py").write_text(f"from numba import njit\n@njit\ndef times(x): return {factor} * x\n")
        command = [sys.executable, str(tmp_path / "kernels.py")]
        found = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=True)
        return found.stdout, found.stderr.count(ANNOUNCEMENT)

    assert run_with(2) == ("2 4\n", 2)
    assert run_with(2) == ("2 4\n", 0)
    assert run_with(3) == ("3 9\n", 2)
    assert run_with(2) == ("2 4\n", 0)


KERNELS = """
import kernels_alone
from nnunetv2_mamba.ops.cpu.kernel import kernel
from numba_factor import times
@kernel
def once(x): return times(x)
@kernel
def twice(x): return times(times(x))
print(once(1), twice(1))
"""
TOGETHER = """
import kernels_alone, pathlib, sys, time
from numba.core.caching import IndexDataCacheFile
from nnunetv2_mamba.ops.cpu.kernel import kernel

numbers = [{"float": 0.5, "int": 21}[name] for name in sys.argv[1:]]
load_index = IndexDataCacheFile._load_index

def load_index_and_wait(file):
    # A process that is about to keep its code waits until the other one has come as far, or is not let in.
    overloads = load_index(file)
    if keeps:
        pathlib.Path(sys.argv[1]).touch()
        end = time.monotonic() + 1
        while not (pathlib.Path("float").exists() and pathlib.Path("int").exists()) and time.monotonic() < end:
            time.sleep(0.01)
    return overloads

keeps = False
IndexDataCacheFile._load_index = load_index_and_wait

@kernel
def twice(x): return 2 * x

reduced = twice._cache._impl.reduce
def reduce(data):
    global keeps
    keeps = True
    return reduced(data)
twice._cache._impl.reduce = reduce
print(*(twice(number) for number in numbers))
"""


def test_processes_that_keep_their_code_at_once_keep_both(tmp_path):
    """Without a lock both take the same file name, and one of them later runs what the other compiled."""
    script = tmp_path / "together.py"
    script.write_text(TOGETHER)
    environment = os.environ | ALONE | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}

    def start(*names):
        command = [sys.executable, str(script), *names]
        return subprocess.Popen(command, env=environment, cwd=tmp_path, text=True, stdout=-1, stderr=-1)

    both = [start("float"), start("int")]
    assert [process.communicate(timeout=300)[0] for process in both] == ["1.0\n", "42\n"]
    output, said = start("float", "int").communicate(timeout=300)
    assert output == "1.0 42\n"
    assert ANNOUNCEMENT not in said


TWICE = """
import kernels_alone
from nnunetv2_mamba.ops.cpu.kernel import kernel
@kernel
def twice(x): return 2 * x
print(twice(21))
"""
FULL_DISK = """
import resource, signal
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="limits the size of files as Unix does")
@pytest.mark.parametrize(
    ("script", "variable", "said"),
    [
        (FULL_DISK + TWICE, "NUMBA_CACHE_DIR", "cannot be kept on disk"),
        (TWICE, "NUMBA_CACHE_LOCATOR_CLASSES", "set NUMBA_CACHE_DIR"),
    ],
    ids=["disk full", "nowhere to write"],
)
def test_where_nothing_can_be_kept_it_runs_and_says_so(tmp_path, script, variable, said):
    values = {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "NUMBA_CACHE_LOCATOR_CLASSES": "IPythonCacheLocator"}
    file = tmp_path / "script.py"
    file.write_text(script)
    environment = os.environ | ALONE | {variable: values[variable]}
    found = subprocess.run([sys.executable, file], env=environment, capture_output=True, text=True, timeout=300)
    assert found.returncode == 0, found.stderr
    assert found.stdout == "42\n"
    assert said in found.stderr
