"""Kernels compiled for another CPU than the newest, in new processes: right, announced once, then found on disk."""

import os
import platform
import subprocess
import sys

import pytest

SELF_CHECK = """
from nnunetv2_mamba.ops.scan.cpu import NumbaBackend
from nnunetv2_mamba.ops.scan.numba_lanes import LANES
print(LANES, NumbaBackend().self_check("cpu"))
"""
AVX2 = "+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+avx,+avx2,+fma,+f16c,+bmi,+bmi2,+lzcnt,+movbe"
ANNOUNCEMENT = "compiling the selective scan for this CPU"


def _self_check(cache):
    environment = os.environ | {"NUMBA_CACHE_DIR": str(cache), "NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": AVX2}
    command = [sys.executable, "-c", SELF_CHECK]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=True)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="compiles for an x86 CPU without AVX-512")
def test_a_cpu_without_avx512(tmp_path):
    first, second = _self_check(tmp_path), _self_check(tmp_path)
    lanes, error = first.stdout.split()
    assert lanes == "8"
    assert float(error) < 1e-5
    assert first.stderr.count(ANNOUNCEMENT) == 1
    assert second.stdout == first.stdout
    assert ANNOUNCEMENT not in second.stderr
