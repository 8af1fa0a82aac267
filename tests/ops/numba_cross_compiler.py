"""Cross-compiles the innermost loops of the numba kernels and prints their machine code as JSON.

A process of its own, started by test_numba_targets.py: how many lanes there are is settled when the kernels are
imported, and LLVM ends the process over code that a target cannot run.
"""

import json
import os
import re
from collections.abc import Callable

# Features of no target, and what numba hands to LLVM.
os.environ |= {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "NUMBA_OPT": "0"}

import kernels_alone  # noqa: F401
from llvmlite import binding
from numba import float32, intp, njit

from nnunetv2_mamba.ops.convolution.numba_convolution import _filtered
from nnunetv2_mamba.ops.cpu.lanes import LANES
from nnunetv2_mamba.ops.scan.numba_backward import _decay, _recompute, _reverse
from nnunetv2_mamba.ops.scan.numba_forward import _advance

TARGETS = {"aarch64": ("aarch64-linux-gnu", "generic"), "sse4.2": ("x86_64-linux-gnu", "nehalem")}
ROWS, NUMBERS = float32[:, ::1], float32[::1]
FUNCTIONS = {
    _advance: (ROWS, ROWS, intp, NUMBERS, intp, ROWS),
    _decay: (ROWS, ROWS, intp, intp, intp),
    _recompute: (ROWS, ROWS, intp, intp, NUMBERS, intp, ROWS),
    _reverse: (ROWS, ROWS, intp, intp, NUMBERS, intp, ROWS, ROWS, ROWS),
    _filtered: (ROWS, ROWS, ROWS, intp, intp),
}


def intermediate_code(function: Callable, signature: tuple) -> str:
    """What numba hands to LLVM, nothing optimised yet and nothing that Python could call."""
    bare = njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)(function.py_func)
    bare.compile(signature)
    return bare.inspect_llvm(bare.signatures[0])


def assembly(code: str, target: binding.Target, triple: str, cpu: str) -> str:
    """Optimised as numba does it: passes, reference counts taken out, passes again."""
    machine = target.create_target_machine(cpu=cpu, opt=3)
    module = binding.parse_assembly(code)
    module.triple, module.data_layout = triple, str(machine.target_data)
    for _ in range(2):
        builder = binding.create_pass_builder(machine, binding.create_pipeline_tuning_options(speed_level=3))
        passes = builder.getModulePassManager()
        passes.add_refprune_pass()
        passes.run(module, builder)
    return machine.emit_assembly(module)


def innermost_loop(code: str) -> list[str]:
    """Instructions of the longest loop without another loop in it."""
    lines = code.splitlines()
    labels = {match[1]: at for at, line in enumerate(lines) if (match := re.match(r"(\.L\w+):", line))}
    jumps = {at: labels.get(match[1], at) for at, line in enumerate(lines) if (match := re.search(r"(\.L\w+)$", line))}
    loops = [(begin, end) for end, begin in jumps.items() if begin < end]
    innermost = [(a, b) for a, b in loops if not any(a <= c and d <= b for c, d in loops if (c, d) != (a, b))]
    begin, end = max(innermost, key=lambda loop: loop[1] - loop[0])
    return [" ".join(line.split()) for line in lines[begin : end + 1] if re.match(r"\s+\w", line)]


def main() -> None:
    """Print {target: {function: instructions}}, None for a target that this LLVM was built without, and LANES."""
    codes = {function.__name__: intermediate_code(function, signature) for function, signature in FUNCTIONS.items()}
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    found: dict[str, dict[str, list[str]] | None] = {}
    for name, (triple, cpu) in TARGETS.items():
        try:
            target = binding.Target.from_triple(triple)
        except RuntimeError:
            found[name] = None
            continue
        found[name] = {key: innermost_loop(assembly(code, target, triple, cpu)) for key, code in codes.items()}
    print(json.dumps({"lanes": LANES, "loops": found}))


if __name__ == "__main__":
    main()
