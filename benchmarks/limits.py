"""The scan against what the machine can do: multiply-adds, exponentials and memory bandwidth, measured in the same run.

What a scan must at least compute for each state (position, channel and n), by its equations:

    forward    a = 2^(delta A'), h = a h + (delta u) B, y += C h:
               1 exponential; products delta A' and (delta u) B, multiply-adds for h and y: 4 operations
    backward   a and h once more from a saved state, then g = C dy + carry, carry = g a, e = carry h_before,
               dA += e delta, ddelta += e A, d(delta u) += g B, dB += g (delta u), dC += dy h:
               1 exponential; products delta A', (delta u) B, g a and e, multiply-adds for h, g and the five sums: 11

and for each position and channel, read and written once in float32:

    forward    u, delta, y: 12 bytes, and for training the saved states: 4 N / CHUNK
    backward   u, delta, dy, du, ddelta: 20 bytes, and the saved states

B, C and their gradients are shared by all channels and count 8 N / D and 16 N / D. A time cannot be less than either
sum over the rates measured here: multiply-adds and exponentials (the scan's own, on numbers in registers) with as many
independent chains as hide their latency, and the triad a + s b over arrays that no cache holds. The limit is the larger
one; softplus, the K directions' orders and the sums over threads are on top, and are what the ratio leaves room for.
Memory that is freed stays with the process: what the system takes to hand it out again is not a property of the scan.
"""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.contenders import channels_last, contenders, draw_inputs
from benchmarks.limit_kernels import CHAINS, exponentials, multiply_adds
from benchmarks.machine import Goal, Options, Table, goals_table, in_turn
from benchmarks.processes import keep_freed_memory
from nnunetv2_mamba.ops import selective_scan
from nnunetv2_mamba.ops.cpu.lanes import LANES
from nnunetv2_mamba.ops.cpu.threads import run_in_threads
from nnunetv2_mamba.ops.scan.contract import CHUNK

AIM = 3.0
SHAPES = ((1, 768, 4096, 16), (1, 192, 16384, 16), (1, 192, 4096, 64))
"""(B, D, L, N)."""
OPERATIONS = {"forward": 4, "backward": 11}
TENSORS = {"forward": 3, "backward": 5}
SHARED = {"forward": 2, "backward": 4}


def measure(options: Options) -> dict[str, Any]:
    """Rates per second, and seconds of the scan next to the least that they allow.

    Raises:
        ValueError: asked for a GPU, whose limits these are not.
    """
    if options.device != "cpu":
        raise ValueError("limits are measured on the CPU only: leave out --device.")
    keep_freed_memory()
    shapes = ((1, 64, 512, 16),) if options.quick else SHAPES
    scale = 0.01 if options.quick else 1.0
    rates = machine_rates(scale)
    shape_figures = [scan_against(rates, shape) for shape in shapes]
    targets = [
        Goal(f"{pass_} over the limit, D = {figures['D']}, L = {figures['L']}, N = {figures['N']}", ratio, "<=", AIM)
        for figures in shape_figures
        for pass_ in OPERATIONS
        for ratio in (figures[pass_]["seconds"] / figures[pass_]["limit"],)
    ]
    return {"rates": rates, "shapes": shape_figures, "targets": [asdict(target) for target in targets]}


def machine_rates(scale: float = 1.0) -> dict[str, float]:
    """What all threads together do in a second, in numbers (multiply-adds, exponentials) or bytes."""
    steps, size = int(2e6 * scale), int(2**26 * scale)
    exponents = torch.rand(size // 4)
    small = -torch.rand(2**17)
    small_result = torch.empty_like(small)
    repetitions = int(200 * scale)
    a, b, c = (torch.rand(size) for _ in range(3))
    runs: dict[str, Callable[[], Any]] = {
        "multiply-adds": partial(_in_threads, multiply_adds, steps),
        "exponentials": partial(_in_threads, exponentials, steps // 8),
        "torch.exp": partial(torch.exp, exponents, out=torch.empty_like(exponents)),
        "torch.exp in cache": lambda: [torch.exp(small, out=small_result) for _ in range(repetitions)],
        "copy": lambda: c.copy_(a),
        "triad": lambda: torch.add(a, b, alpha=0.5, out=c),
    }
    numbers = torch.get_num_threads() * LANES * CHAINS
    amounts = {
        "multiply-adds": numbers * steps,
        "exponentials": numbers * (steps // 8),
        "torch.exp": exponents.numel(),
        "torch.exp in cache": small.numel() * repetitions,
        "copy": 2 * c.nbytes,
        "triad": 3 * c.nbytes,
    }
    seconds = in_turn(runs, 3)
    return {name: amounts[name] / seconds[name] for name in runs}


def scan_against(rates: dict[str, float], shape: tuple[int, int, int, int]) -> dict[str, Any]:
    """Seconds of both passes of one shape (B, D, L, N), and the limits."""
    contender, inputs = contenders("cpu")["numba"], channels_last(draw_inputs(*shape))
    dy = torch.ones_like(inputs[0])
    leaves = tuple(tensor.detach().requires_grad_() for tensor in inputs)
    *sequences, D, bias = leaves
    runs = {
        "forward": lambda: selective_scan(*sequences, D, None, bias, True, backend="numba"),
        "both": lambda: contender.gradients(inputs, dy),
    }
    seconds = in_turn(runs, 5)
    taken = {"forward": seconds["forward"], "backward": seconds["both"] - seconds["forward"]}
    batch, channels, length, d_state = shape
    figures: dict[str, Any] = dict(zip("BDLN", shape, strict=True))
    for pass_ in OPERATIONS:
        arithmetic = batch * channels * length * d_state * seconds_a_state(pass_, rates)
        memory = batch * channels * length * bytes_a_position(pass_, channels, d_state) / rates["triad"]
        limits = {"arithmetic": arithmetic, "memory": memory, "limit": max(arithmetic, memory)}
        figures[pass_] = {"seconds": taken[pass_], **limits}
    return figures


def seconds_a_state(pass_: str, rates: dict[str, float]) -> float:
    """The least that arithmetic takes; exponentials and multiply-adds need the same units of the processor."""
    return 1 / rates["exponentials"] + OPERATIONS[pass_] / rates["multiply-adds"]


def bytes_a_position(pass_: str, channels: int, d_state: int) -> float:
    """The least that is read and written for each position and channel, with saved states."""
    return 4 * (TENSORS[pass_] + d_state / CHUNK + SHARED[pass_] * d_state / channels)


def tables(results: dict[str, Any]) -> list[Table]:
    """The tables of kept figures."""
    units = {"copy": "GB/s", "triad": "GB/s"}
    rates = [("what", "rate")]
    rates += [
        (name, f"{rate / 1e9:.1f} {units.get(name, 'billion numbers/s')}") for name, rate in results["rates"].items()
    ]
    rows = [
        (
            "D, L, N",
            "pass",
            "ms",
            "arithmetic limit",
            "memory limit",
            "over the limit",
            "ns a state",
            "limit over torch.exp",
        )
    ]
    for figures in results["shapes"]:
        states = figures["B"] * figures["D"] * figures["L"] * figures["N"]
        for pass_ in OPERATIONS:
            found = figures[pass_]
            milliseconds = (f"{1000 * found[key]:.2f}" for key in ("seconds", "arithmetic", "memory"))
            ratio = f"{found['seconds'] / found['limit']:.2f}"
            shape = f"{figures['D']}, {figures['L']}, {figures['N']}"
            exp = found["limit"] * results["rates"]["torch.exp"] / states
            per_state = f"{1e9 * found['seconds'] / states:.3f}"
            rows.append((shape, pass_, *milliseconds, ratio, per_state, f"{exp:.2f}"))
    return [
        goals_table(results["targets"]),
        Table("What the machine does in a second, all threads together", rates),
        Table("The scan (training, channels last) next to the least that these rates allow, in ms", rows),
    ]


def _in_threads(kernel: Callable[[np.ndarray, int], None], steps: int) -> None:
    def work() -> None:
        kernel(np.zeros((CHAINS, LANES), np.float32), steps)

    run_in_threads(work)
