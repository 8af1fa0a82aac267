"""The Triton kernels compiled as for GPUs that need not be there: launches, offsets, memory and instructions."""

import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from nnunetv2_mamba.ops.scan import library, triton_plan
from nnunetv2_mamba.ops.scan.backends.triton import TritonBackend
from nnunetv2_mamba.ops.scan.contract import CHUNK, ScanArguments
from nnunetv2_mamba.ops.scan.orders import visiting_orders
from nnunetv2_mamba.ops.scan.triton_plan import BACKWARD, FORWARD

triton = pytest.importorskip("triton")

KERNELS = {
    "gather_projections", "segment_ends", "join_segments", "scan_forward", "scan_backward", "scatter_projections",
}  # fmt: skip
SIZES = r"%(?!per_group|d_state)(padded|length|width|\w+_(batch|direction|group|state|slot|row))\b"
"""Numbers whose products can leave 32 bits."""


@pytest.fixture
def compile_for(monkeypatch):
    """Run a scan with a driver that knows its GPU and launches nothing; returns the compiled kernels by name."""
    run, compiled = triton.JITFunction.run, {}

    def without_launch(self, *arguments, grid, warmup, **options):
        compiled[self.__name__] = run(self, *arguments, grid=grid, warmup=True, **options)

    monkeypatch.setattr(triton.JITFunction, "run", without_launch)
    monkeypatch.setattr(triton_plan, "processors", lambda device: 100)

    def compile_kernels(capability, dtype=torch.float32, gate=False, channels=128):
        target = triton.backends.compiler.GPUTarget("cuda", capability, 32)
        driver = SimpleNamespace(
            get_current_target=lambda: target, get_current_device=lambda: capability, get_current_stream=lambda _: 0
        )
        monkeypatch.setattr(triton.runtime.driver, "_active", driver)
        scan, dy = _scan(dtype, gate, channels)
        states = torch.empty(1, 1, 2, 3, channels)
        backend = TritonBackend()
        backend.forward(scan, torch.empty_like(dy), states)
        grads = library._gradients(scan)
        backend.backward(scan, dy, states, grads)
        return compiled

    return compile_kernels


def _scan(dtype, gate, channels):
    length, d_state = 2 * CHUNK, 3
    u = torch.zeros(1, length, channels, dtype=dtype).transpose(1, 2)
    A, projection = torch.zeros(1, channels, d_state), torch.zeros(1, 1, 1, d_state, length, dtype=dtype)
    orders = visiting_orders((length,), ((0,),), 1)
    scan = ScanArguments(
        u, u.unsqueeze(1), A, projection, projection, A[..., 0], A[..., 0], u if gate else None, True, orders
    )  # fmt: skip
    return scan, torch.zeros(1, length, channels).transpose(1, 2)


@pytest.mark.parametrize(
    ("capability", "dtype", "gate"),
    [(75, torch.float16, True), (80, torch.bfloat16, True), (90, torch.float32, False)],
    ids=str,
)
def test_every_launch_compiles(compile_for, capability, dtype, gate):
    compiled = compile_for(capability, dtype, gate)
    assert set(compiled) == KERNELS
    for name, kernel in compiled.items():
        narrow = re.findall(r"arith\.muli .*?: i32", kernel.asm["ttir"])
        assert narrow, name
        assert not [line for line in narrow if re.search(SIZES, line)], name


def test_forward_is_bound_by_its_exponentials(compile_for, tmp_path):
    """A multiprocessor takes eight times as long for 2**x as for an addition: all the rest has to fit in beside it."""
    compiled = compile_for(90)["scan_forward"]
    code, loop = _machine_code(compiled, tmp_path)
    assert compiled.metadata.shared == 0
    assert not _count(code, "SHFL", "STL", "LDL")
    assert _count(loop, "MUFU") == FORWARD.numbers
    assert len(loop) <= 8 * FORWARD.numbers


def test_backward_spills_nothing_in_its_loop(compile_for, tmp_path):
    _, loop = _machine_code(compile_for(90)["scan_backward"], tmp_path)
    assert _count(loop, "MUFU") == BACKWARD.numbers
    assert not _count(loop, "STL")
    # The assembler of CUDA 13 reloads one address; orders of these statements that avoid it take 13 instructions more.
    assert _count(loop, "LDL") <= 1
    # Two sums over 32 threads per visit take five shuffles each, and nothing else takes any.
    assert _count(loop, "SHFL") == 10 * BACKWARD.numbers // BACKWARD.channels
    assert len(loop) <= 24 * BACKWARD.numbers


def _machine_code(compiled, tmp_path):
    """Instructions of the whole kernel, and of the last of its innermost loops, the one over n."""
    cubin = tmp_path / "kernel.cubin"
    cubin.write_bytes(compiled.asm["cubin"])
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/nvdisasm"
    text = subprocess.run([tool, "-c", cubin], capture_output=True, text=True, check=True).stdout
    code, labels, loops = [], {}, []
    for line in text.splitlines():
        if label := re.match(r"\s*(\.L_x_\d+):", line):
            labels[label[1]] = len(code)
        elif found := re.match(r"\s+/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+ )?([A-Z0-9_.]+)(.*)", line):
            code.append(found[1].split(".")[0])
            target = re.search(r"\.L_x_\d+", found[2])
            # The last instruction of a kernel branches to itself.
            if code[-1] == "BRA" and target and labels.get(target[0], len(code)) < len(code) - 1:
                loops.append((labels[target[0]], len(code)))
    inner = [loop for loop in loops if not any(o != loop and loop[0] <= o[0] and o[1] <= loop[1] for o in loops)]
    return code, code[slice(*inner[-1])]


def _count(code, *names):
    return sum(instruction in names for instruction in code)
