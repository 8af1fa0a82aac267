"""The scan against other implementations: time and peak memory over lengths, widths and state sizes.

Every contender must first give the reference's output and gradients. Each cell of the tables is a process of its own,
so that its peak of memory is its own; it is skipped, with the reason kept, where the next shorter length says that it
would take too long or too much memory.

One cell, the classic, is measured in turn by all that are not too slow for it, next to one pass of torch.exp over
B * D * L * N numbers: what a scan that writes out its decays cannot get under. exp is timed with a new tensor for the
result, as an expression makes one, and into memory that is there already; where the system hands out memory in small
pages the first takes several times longer. In the tables "over exp" is over the faster of the two.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.contenders import Contender, channels_last, contenders, draw_inputs
from benchmarks.convolution import convolution_table, measure_convolutions
from benchmarks.machine import Goal, Options, Table, goals_table, in_turn
from benchmarks.processes import in_fresh_process
from benchmarks.scan_cells import Cell, cell_text, first_call, measured, measured_or_not, run_forward
from nnunetv2_mamba.ops.scan.registry import REGISTRY

LENGTHS = (256, 1024, 4096, 16384, 65536, 262144)
SERIES = ((192, 16), (192, 64), (192, 256), (768, 16))
"""(D, N) of the tables; the last one is that of the shape that is measured in turn."""
CLASSIC_LENGTH = 4096
GRIDS = ((64, 64), (256, 256), (64, 64, 64))
GRID_CHANNELS, GRID_STATE = 192, 16
CHECKED = (2, 24, 100, 16)
"""(B, D, L, N) to compare with the reference."""


def measure(options: Options) -> dict[str, Any]:
    """All figures: seconds, bytes, and errors against the reference."""
    device = options.device
    everyone = contenders(device)
    absent = {name: reason for name, contender in everyone.items() if (reason := contender.absent())}
    present = [name for name in everyone if name not in absent]
    errors = agreement({name: everyone[name] for name in present}, device)
    lengths, series, grids = (LENGTHS, SERIES, GRIDS)
    if options.quick:
        lengths, series, grids = (64, 256), ((64, 16),), ((8, 8), (4, 4, 4))
    cells = list(_sweep(present, lengths, series, device))
    on_grids = list(_grids([name for name in present if name in REGISTRY.backends], grids, device))
    shape = (1, *series[-1][:1], min(lengths[-1], CLASSIC_LENGTH), series[-1][1])
    at_shape = {cell["contender"]: cell for cell in cells if is_classic(cell, shape)}
    quick_enough = [name for name, cell in at_shape.items() if "skipped" not in cell]
    classic_cell = in_fresh_process(classic, quick_enough, shape, device)
    return {
        "labels": {name: contender.label for name, contender in everyone.items()},
        "absent": absent,
        "largest_error": errors,
        "classic": classic_cell,
        "targets": [asdict(target) for target in _goals(classic_cell, at_shape, device)],
        "cells": cells,
        "grids": on_grids,
        **({"first_call": _first_calls()} if device == "cpu" else {}),
        "convolution": in_fresh_process(measure_convolutions, device),
    }


def agreement(chosen: dict[str, Contender], device: str) -> dict[str, float]:
    """Largest error of output and gradients of each, relative to the largest number of the tensor it is in.

    Raises:
        SystemExit: one is off by more than our own backends may be.
    """
    inputs = draw_inputs(*CHECKED)
    dy = torch.randn(inputs[0].shape, generator=torch.Generator().manual_seed(1))
    truth = contenders("cpu")["reference"]
    exact = tuple(tensor.double() for tensor in inputs)
    wanted = [truth.scan(exact), *truth.gradients(exact, dy.double())]
    errors = {}
    for name, contender in chosen.items():
        there = tuple(tensor.to(device) for tensor in inputs)
        found = [contender.scan(there), *contender.gradients(there, dy.to(device))]
        pairs = zip(wanted, found, strict=True)
        errors[name] = max(float((want - have.cpu()).abs().max() / want.abs().max()) for want, have in pairs)
        if not errors[name] <= REGISTRY.tolerance:
            raise SystemExit(
                f"{contender.label} is off by {errors[name]:.1e} (allowed {REGISTRY.tolerance:.0e}), "
                "so nothing is measured: a wrong scan has no speed."
            )
    return errors


def is_classic(cell: dict[str, Any], shape: tuple[int, int, int, int]) -> bool:
    """Whether a cell of a table has the shape (B, D, L, N) that is measured with all contenders in turn."""
    return (1, cell["channels"], *cell["spatial"], cell["d_state"]) == shape


def classic(names: list[str], shape: tuple[int, int, int, int], device: str) -> dict[str, Any]:
    """Seconds of one shape (B, D, L, N) with contenders in turn, the first also channels-last, next to torch.exp."""
    inputs = draw_inputs(*shape, device)
    dy = torch.ones_like(inputs[0])
    exponents = -torch.rand(torch.Size(shape).numel(), device=device)
    into = torch.empty_like(exponents)
    runs: dict[str, Callable[[], Any]] = {
        "exp": lambda: torch.exp(exponents),
        "exp into given memory": lambda: torch.exp(exponents, out=into),
    }
    everyone = contenders(device)
    entries = {name: (everyone[name], inputs, dy) for name in names}
    entries[f"{names[0]}, channels last"] = (everyone[names[0]], channels_last(inputs), *channels_last((dy,)))
    for name, (contender, given, gradient) in entries.items():
        runs[f"{name} forward"] = partial(run_forward, contender, given)
        runs[f"{name} both"] = partial(contender.gradients, given, gradient)
    return {"shape": dict(zip("BDLN", shape, strict=True)), "seconds": in_turn(runs, 3, device)}


def _sweep(
    names: list[str], lengths: tuple[int, ...], series: tuple[tuple[int, int], ...], device: str
) -> Iterator[dict[str, Any]]:
    for channels, d_state in series:
        before: dict[str, tuple[Cell, dict[str, Any]]] = {}
        for length in lengths:
            for name in names:
                cell = Cell(name, channels, (length,), d_state, device)
                before[name] = cell, (figures := measured_or_not(cell, before.get(name)))
                yield {**asdict(cell), **figures}


def _grids(names: list[str], grids: tuple[tuple[int, ...], ...], device: str) -> Iterator[dict[str, Any]]:
    for spatial in grids:
        for name in names:
            cell = Cell(name, GRID_CHANNELS, spatial, GRID_STATE, device)
            probe = replace(cell, spatial=(max(2, min(spatial) // 4),) * len(spatial))
            yield {**asdict(cell), **measured_or_not(cell, (probe, measured(probe)))}


EXPONENTIALS = {"exp": "torch.exp(x)", "exp into given memory": "torch.exp(x, out=y)"}


def _first_calls() -> dict[str, float]:
    with TemporaryDirectory() as cache:
        return {what: in_fresh_process(first_call, cache) for what in ("compiled", "from disk")}


def _goals(classic_cell: dict[str, Any], at_shape: dict[str, dict[str, Any]], device: str) -> Iterator[Goal]:
    seconds = classic_cell["seconds"]
    ours = next(iter(contenders(device)))

    def over(above: str, below: str) -> float | None:
        return seconds[above] / seconds[below] if above in seconds and below in seconds else None

    if device == "cuda":
        for pass_ in ("forward", "both"):
            yield Goal(f"{pass_}: mamba_ssm's time over ours", over(f"mamba_ssm {pass_}", f"{ours} {pass_}"), ">=", 1.0)
        return
    for exp, label in EXPONENTIALS.items():
        quickest = f"{ours}, channels last"
        yield Goal(f"forward, channels last, over {label}", over(f"{quickest} forward", exp), "<=", 0.2)
        yield Goal(f"forward and backward, channels last, over {label}", over(f"{quickest} both", exp), "<=", 0.7)
    yield Goal("mambapy's time over ours, forward", over("mambapy forward", f"{ours} forward"), ">=", 10)
    yield Goal("mambapy's time over ours, forward and backward", over("mambapy both", f"{ours} both"), ">=", 10)
    both = {name: at_shape.get(name, {}).get("both_bytes") for name in ("mambapy", ours)}
    ratio = both["mambapy"] / max(both[ours], 1) if None not in both.values() else None
    yield Goal("mambapy's extra memory over ours, forward and backward", ratio, ">=", 10)


def tables(results: dict[str, Any]) -> list[Table]:
    """The tables of kept figures."""
    labels, errors = results["labels"], results["largest_error"]
    agreed = [(labels[name], f"{error:.0e}") for name, error in errors.items()]
    agreed += [(labels[name], f"not measured: {reason}") for name, reason in results["absent"].items()]
    found = [goals_table(results["targets"]), _classic_table(results)]
    for channels, d_state in dict.fromkeys((cell["channels"], cell["d_state"]) for cell in results["cells"]):
        cells = [cell for cell in results["cells"] if (cell["channels"], cell["d_state"]) == (channels, d_state)]
        found.append(_series_table(f"selective_scan, B = 1, D = {channels}, N = {d_state}", cells, labels))
    grid = f"cross_selective_scan in all directions, B = 1, D = {GRID_CHANNELS}, N = {GRID_STATE}, channels last"
    found.append(_series_table(grid, results["grids"], labels))
    if "first_call" in results:
        rows = [("numba's machine code", "seconds"), *((what, f"{s:.1f}") for what, s in results["first_call"].items())]
        found.append(Table("First pass, forward and backward, of a process", rows))
    if "convolution" in results:
        found.append(convolution_table(results["convolution"]))
    found.append(Table("Largest relative error of output and gradients on equal inputs", [("scan", "error"), *agreed]))
    return found


def _classic_table(results: dict[str, Any]) -> Table:
    shape, seconds = results["classic"]["shape"], results["classic"]["seconds"]
    ours = next(iter(results["largest_error"]))
    exp = min(seconds["exp"], seconds["exp into given memory"])
    rows = [("scan", "forward (ms)", "over exp", "over ours", "forward and backward (ms)", "over exp", "over ours")]
    labels = {name: label for name, label in results["labels"].items() if f"{name} forward" in seconds}
    for name, label in {f"{ours}, channels last": f"{labels[ours]}, channels last", **labels}.items():
        row = [label]
        for pass_ in ("forward", "both"):
            value = seconds[f"{name} {pass_}"]
            row += [f"{1000 * value:.1f}", f"{value / exp:.2f}", f"{value / seconds[f'{ours} {pass_}']:.1f}"]
        rows.append(tuple(row))
    for name, label in EXPONENTIALS.items():
        rows.append((label, f"{1000 * seconds[name]:.1f}", f"{seconds[name] / exp:.2f}", "", "", "", ""))
    return Table("One shape, all in turn: " + ", ".join(f"{key} = {value}" for key, value in shape.items()), rows)


def _series_table(title: str, cells: list[dict[str, Any]], labels: dict[str, str]) -> Table:
    names = list(dict.fromkeys(cell["contender"] for cell in cells))
    heading = "L" if len(cells[0]["spatial"]) == 1 else "grid"
    rows = [(heading, *(labels[name] for name in names))]
    for spatial in dict.fromkeys(tuple(cell["spatial"]) for cell in cells):
        row = {cell["contender"]: cell_text(cell) for cell in cells if tuple(cell["spatial"]) == spatial}
        rows.append((" x ".join(map(str, spatial)), *(row.get(name, "") for name in names)))
    return Table(f"{title}: ms forward / forward and backward; MiB beyond inputs and results in both", rows)
