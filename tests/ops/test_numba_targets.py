"""The innermost loops as CPUs get them that need not be there: vector instructions only, and nothing called."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from llvmlite import binding

pytestmark = pytest.mark.skipif(
    not hasattr(binding, "create_pass_builder"), reason="this llvmlite cannot optimise for another CPU than its own"
)

PRODUCTS_AND_SUMS = {"_advance": 4 * 7, "_decay": 2 * 5, "_recompute": 2, "_reverse": 8, "_filtered": 1}
"""Multiply-adds on lanes in one turn of the loop; five of them are in each exp2."""

REGISTER = 4
FUSED = {"aarch64": r"fmla v\d+\.4s", "sse4.2": "mulps"}
CALL = re.compile(r"(bl|blr|callq?) ")
SCALAR = re.compile(r"f(n?m?(add|sub|mul)|div|rint\w) s\d|(add|sub|mul|div|round)ss ")


@pytest.fixture(scope="module")
def compiled():
    script = Path(__file__).with_name("numba_cross_compiler.py")
    environment = os.environ | {"TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("target", FUSED)
@pytest.mark.parametrize("function", PRODUCTS_AND_SUMS)
def test_innermost_loops_are_vector_code(compiled, target, function):
    if compiled["loops"][target] is None:
        pytest.skip(f"the LLVM of this llvmlite has no target for {target}")
    loop = compiled["loops"][target][function]
    vectors = compiled["lanes"] // REGISTER
    assert not [line for line in loop if CALL.match(line) or SCALAR.match(line)]
    fused = [line for line in loop if re.match(FUSED[target], line)]
    assert len(fused) >= PRODUCTS_AND_SUMS[function] * vectors
