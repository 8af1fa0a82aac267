"""``python -m benchmarks.ops``: the scan on the CPU against the sequential reference and against one pass of torch.exp.

A scan that wrote out its decays would compute one exponential for each of B * D * L * N states; torch.exp over as many
numbers is therefore a bar that materialising implementations cannot get under. It is timed with a new tensor for the
result, as an expression makes one, and into memory that is there already: where the system hands out memory in small
pages the first takes several times longer. Nothing is reported unless the backend gives the reference's numbers first.
"""

import argparse
import json
import multiprocessing
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.machine import fastest, report
from nnunetv2_mamba.ops import selective_scan
from nnunetv2_mamba.ops.scan.registry import REGISTRY

SHAPE = (1, 768, 4096, 16)
ROUNDS = 5
TARGETS = {
    "forward_over_reference": (">=", 20.0),
    "forward_over_exp": ("<=", 0.4),
    "forward_over_exp_into_given_memory": ("<=", 0.4),
    "both_over_reference": (">=", 50.0),
    "extra_memory_over_states": ("<=", 0.1),
}


def inputs(batch: int, channels: int, length: int, d_state: int) -> list[Tensor]:
    """u, delta, A, B, C, D and delta_bias as a Mamba layer makes them."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    A = -torch.arange(1.0, d_state + 1).expand(channels, d_state).contiguous()
    sequences = (draw(batch, d_state, length) for _ in range(2))
    return [draw(batch, channels, length), draw(batch, channels, length), A, *sequences, draw(channels), draw(channels)]


def scan(backend: str, tensors: list[Tensor]) -> Tensor:
    """The scan of a backend on such inputs."""
    *sequences, D, delta_bias = tensors
    return selective_scan(*sequences, D, None, delta_bias, True, backend=backend)


def both(backend: str, tensors: list[Tensor], dy: Tensor) -> tuple[Tensor, ...]:
    """Output's gradients with respect to every input."""
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    return torch.autograd.grad(scan(backend, leaves), leaves, dy)


def extra_memory(backend: str) -> float:
    """Peak memory of forward and backward beyond inputs and results, over that of the (B, D, L, N) tensor."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_extra_memory, (backend,))


def _extra_memory(backend: str) -> float:
    batch, channels, length, d_state = SHAPE
    small = inputs(1, 32, 64, d_state)
    both(backend, small, torch.ones_like(small[0]))
    tensors = inputs(*SHAPE)
    dy = torch.ones_like(tensors[0])
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far, which compiling set
    before = _memory("VmRSS")
    gradients = both(backend, tensors, dy)
    results = sum(t.nbytes for t in gradients) + dy.nbytes  # y, of the size of dy, and what was asked for
    return (_memory("VmHWM") - before - results) / (4 * batch * channels * length * d_state)


def _memory(field: str) -> int:
    """Bytes that Linux reports for this process: resident now (VmRSS) or at the peak (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def measure() -> dict[str, Any]:
    """All figures, times in seconds."""
    tensors = inputs(*SHAPE)
    dy = torch.ones_like(tensors[0])
    batch, channels, length, d_state = SHAPE
    exponents = -torch.rand(batch * channels * length * d_state)
    into = torch.empty_like(exponents)
    runs = {"exp": lambda: torch.exp(exponents), "exp into given memory": lambda: torch.exp(exponents, out=into)}
    for backend in ("numba", "torch", "reference"):
        runs[f"{backend} forward"] = partial(scan, backend, tensors)
        runs[f"{backend} forward+backward"] = partial(both, backend, tensors, dy)
    # All in turn, so that a change of the machine's clock meets all of them.
    rounds = [{name: fastest(run, 1) for name, run in runs.items()} for _ in range(ROUNDS)]
    times = {name: min(seconds[name] for seconds in rounds) for name in runs}
    ratios = {
        "forward_over_reference": times["reference forward"] / times["numba forward"],
        "forward_over_exp": times["numba forward"] / times["exp"],
        "forward_over_exp_into_given_memory": times["numba forward"] / times["exp into given memory"],
        "both_over_reference": times["reference forward+backward"] / times["numba forward+backward"],
        "extra_memory_over_states": extra_memory("numba"),
    }
    return {"shape": dict(zip("BDLN", SHAPE, strict=True)), "seconds": times, "ratios": ratios}


def main() -> None:
    """Check, measure, report."""
    argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0]).parse_args()
    error = REGISTRY.backends["numba"].self_check("cpu")
    if not error <= REGISTRY.tolerance:
        raise SystemExit(f"numba is off by {error:.1e} against the reference; a wrong scan has no speed")
    results = measure()
    rows = [("run", "seconds"), *((name, f"{value:.4f}") for name, value in results["seconds"].items())]
    rows += [("", ""), ("ratio", "measured (target)")]
    for name, (sign, target) in TARGETS.items():
        measured = results["ratios"][name]
        met = measured >= target if sign == ">=" else measured <= target
        rows.append((name, f"{measured:.3g} ({sign} {target:g}{'' if met else ', missed'})"))
    report("ops", {**results, "targets": json.loads(json.dumps(TARGETS)), "self_check_error": error}, rows)


if __name__ == "__main__":
    main()
