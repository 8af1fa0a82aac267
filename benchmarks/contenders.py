"""The selective scans that are compared, those of this package and of others, on the same inputs."""

import ast
import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import softplus

from nnunetv2_mamba.ops import cross_selective_scan, selective_scan
from nnunetv2_mamba.ops.backends import Call
from nnunetv2_mamba.ops.scan.registry import REGISTRY

MAMBA_SSM_SOURCE = "MAMBA_SSM_SOURCE"
"""Environment variable: a checkout of mamba_ssm, for its PyTorch reference where the package is not installed."""

Inputs = tuple[Tensor, ...]
"""u and delta (B, D, L), A (D, N), B and C (B, N, L), D and delta_bias (D,); delta goes through softplus."""


@dataclass(frozen=True)
class Contender:
    """One implementation.

    Attributes:
        label: for tables.
        scan: from inputs to the output (B, D, L).
        absent: why it cannot run on this machine, or None.
    """

    label: str
    scan: Callable[[Inputs], Tensor]
    absent: Callable[[], str | None]

    def gradients(self, inputs: Inputs, dy: Tensor) -> list[Tensor]:
        """Gradients with respect to every input."""
        leaves = tuple(tensor.detach().requires_grad_() for tensor in inputs)
        return list(torch.autograd.grad(self.scan(leaves), leaves, dy))


def contenders(device: str) -> dict[str, Contender]:
    """All that can be asked for on a device, our fastest first, by name."""
    # On a GPU, the reference's loop starts several kernels for each position: it is not a choice there.
    backends = {"cpu": ("numba", "torch", "reference"), "cuda": ("triton", "torch")}[device]
    ours = {
        name: Contender(f"ours, {name}", partial(_ours, name), partial(_refusal, name, device)) for name in backends
    }
    theirs = {
        "mambapy": Contender("mambapy, parallel scan", _mambapy, _mambapy_absent),
        "selective_scan_ref": Contender("mamba_ssm, PyTorch reference", _mamba_ssm_reference, _reference_absent),
    }
    kernel = {
        "mamba_ssm": Contender("mamba_ssm, CUDA kernel", _mamba_ssm_kernel, partial(_refusal, "mamba_ssm", "cuda"))
    }
    return {**ours, **theirs, **(kernel if device == "cuda" else {})}


def draw_inputs(batch: int, channels: int, length: int, d_state: int, device: str = "cpu") -> Inputs:
    """Inputs as a Mamba layer makes them."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    A = -torch.arange(1.0, d_state + 1).expand(channels, d_state).contiguous()
    sequences = (draw(batch, d_state, length) for _ in range(2))
    tensors = (
        draw(batch, channels, length),
        draw(batch, channels, length),
        A,
        *sequences,
        draw(channels),
        draw(channels),
    )
    return tuple(tensor.to(device) for tensor in tensors)


def channels_last(tensors: Inputs) -> Inputs:
    """The same numbers with neighbouring channels, or states, beside each other in memory, as in the networks."""
    return tuple(tensor.mT.contiguous().mT if tensor.ndim == 3 else tensor for tensor in tensors)


def draw_grid(channels: int, spatial: tuple[int, ...], d_state: int, device: str = "cpu") -> Inputs:
    """Inputs of `cross_selective_scan` in all its directions, channels-last as in the networks."""
    generator = torch.Generator().manual_seed(0)
    directions, length = 2 * len(spatial), torch.Size(spatial).numel()

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device)

    def on_grid(*shape: int) -> Tensor:
        return draw(*shape[:-1], length, shape[-1]).transpose(-1, -2).unflatten(-1, spatial)

    A = -torch.arange(1.0, d_state + 1, device=device).expand(directions, channels, d_state).contiguous()
    projections = (on_grid(1, directions, d_state) for _ in range(2))
    vectors = (draw(directions, channels) for _ in range(2))
    return (on_grid(1, channels), on_grid(1, directions, channels), A, *projections, *vectors)


def grid_contender(name: str, device: str) -> Contender:
    """One of our backends on inputs of `draw_grid`."""
    scan = partial(_ours_on_grid, name)
    return Contender(f"ours, {name}", scan, partial(_refusal, name, device))


def _ours(name: str, inputs: Inputs) -> Tensor:
    *sequences, D, delta_bias = inputs
    return selective_scan(*sequences, D, None, delta_bias, True, backend=name)


def _ours_on_grid(name: str, inputs: Inputs) -> Tensor:
    *sequences, D, delta_bias = inputs
    return cross_selective_scan(*sequences, D, delta_bias=delta_bias, delta_softplus=True, backend=name)


def _refusal(name: str, device: str) -> str | None:
    return REGISTRY.refusal(name, Call(device)) if name in REGISTRY.backends else f"there is no backend {name}"


def _mambapy(inputs: Inputs) -> Tensor:
    from mambapy.mamba import MambaBlock

    u, delta, A, B, C, D, delta_bias = inputs
    steps = softplus(delta + delta_bias[:, None])
    # Its method reads nothing of the block it belongs to.
    return MambaBlock.selective_scan(None, u.mT, steps.mT, A, B.mT, C.mT, D).mT


def _mambapy_absent() -> str | None:
    return None if importlib.util.find_spec("mambapy") else "mambapy is not installed: pip install mambapy"


def _mamba_ssm_reference(inputs: Inputs) -> Tensor:
    *sequences, D, delta_bias = inputs
    return selective_scan_ref(mamba_ssm_source())(*sequences, D, None, delta_bias, True)


def _reference_absent() -> str | None:
    if mamba_ssm_source() is None:
        return f"mamba_ssm is not installed, and {MAMBA_SSM_SOURCE} names no checkout of it"
    return None if importlib.util.find_spec("einops") else "it needs einops, which is not installed"


def mamba_ssm_source() -> Path | None:
    """The file of mamba_ssm that has its reference, installed or in the checkout that `MAMBA_SSM_SOURCE` names."""
    if checkout := os.environ.get(MAMBA_SSM_SOURCE):
        folder = Path(checkout) / "mamba_ssm"
    else:
        spec = importlib.util.find_spec("mamba_ssm")
        if spec is None or not spec.submodule_search_locations:
            return None
        folder = Path(spec.submodule_search_locations[0])
    file = folder / "ops" / "selective_scan_interface.py"
    return file if file.is_file() else None


@lru_cache(maxsize=1)
def selective_scan_ref(source: Path) -> Callable[..., Tensor]:
    """The function of that name and nothing else of its file, whose imports need the compiled CUDA module.

    Args:
        source: from `mamba_ssm_source`.

    Raises:
        ValueError: the file has no such function.
    """
    from einops import rearrange, repeat

    tree = ast.parse(source.read_text())
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "selective_scan_ref"]
    if not found:
        raise ValueError(f"{source} has no function selective_scan_ref: name another version with {MAMBA_SSM_SOURCE}.")
    names = {"torch": torch, "F": torch.nn.functional, "rearrange": rearrange, "repeat": repeat}
    exec(compile(ast.Module(found, type_ignores=[]), str(source), "exec"), names)
    return names["selective_scan_ref"]


def _mamba_ssm_kernel(inputs: Inputs) -> Tensor:
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

    *sequences, D, delta_bias = inputs
    return selective_scan_fn(*sequences, D, None, delta_bias, True)
