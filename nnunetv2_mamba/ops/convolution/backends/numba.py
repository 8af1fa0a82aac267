"""The `numba` backend: cuts sequences into stretches for threads and hands each to the compiled kernels."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from nnunetv2_mamba.ops.convolution.contract import Gradients
from nnunetv2_mamba.ops.convolution.self_check import largest_error
from nnunetv2_mamba.ops.cpu.backend import CompiledForTheCpu
from nnunetv2_mamba.ops.cpu.threads import work_off

STRETCH = 2**17
"""Numbers that a thread works on at a time. It is a constant, so that sums are the same bits with any threads."""


class NumbaConvolution(CompiledForTheCpu):
    """Filter and SiLU in one pass over memory; the backward pass computes what lies before the SiLU once more."""

    traced = False
    float32_only = True

    def self_check(self, device: str) -> float:
        """Largest relative error against PyTorch's convolution."""
        return largest_error(self, device)

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None, activation: bool) -> Tensor:
        """See `contract.ConvolutionBackend`."""
        from nnunetv2_mamba.ops.convolution.numba_convolution import LANES, filter_forward

        y = torch.empty_like(x)
        rows, taps, start = _rows(x, LANES), _taps(weight, LANES), _start(weight, bias, LANES)
        filtered = _target(y, rows)

        def stretch(sample: int, begin: int, end: int, part: int) -> None:
            filter_forward(rows[sample], taps, start, activation, begin, end, filtered[sample])

        work_off(stretch, _stretches(rows))
        return _returned(y, filtered)

    def backward(self, dy: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, activation: bool) -> Gradients:
        """See `contract.ConvolutionBackend`."""
        from nnunetv2_mamba.ops.convolution.numba_convolution import LANES, filter_backward

        dx = torch.empty_like(x)
        rows, slopes = _rows(x, LANES), _rows(dy, LANES)
        taps, start = _taps(weight, LANES), _start(weight, bias, LANES)
        moved, stretches = _target(dx, rows), _stretches(rows)
        # The filter's taps, and the bias in the last row; each stretch has sums of its own.
        sums = np.zeros((len(stretches), weight.shape[1] + 1, rows.shape[2]), np.float32)

        def stretch(sample: int, begin: int, end: int, part: int) -> None:
            filter_backward(
                slopes[sample], rows[sample], taps, start, activation, begin, end, moved[sample], sums[part]
            )

        work_off(stretch, stretches)
        total = torch.from_numpy(sums.sum(0)[:, : weight.shape[0]])
        return _returned(dx, moved), total[:-1].T.contiguous(), total[-1].clone()


def _rows(x: Tensor, lanes: int) -> np.ndarray:
    """(batch, D, L) as (batch, L, D), channels side by side and, by zeros, as many as fill whole vectors."""
    missing = -x.shape[1] % lanes
    rows = x.transpose(1, 2)
    return (pad(rows, (0, missing)) if missing else rows.contiguous()).numpy()


def _taps(weight: Tensor, lanes: int) -> np.ndarray:
    return pad(weight.T, (0, -weight.shape[0] % lanes)).contiguous().numpy()


def _start(weight: Tensor, bias: Tensor | None, lanes: int) -> np.ndarray:
    start = weight.new_zeros(weight.shape[0]) if bias is None else bias
    return pad(start, (0, -start.shape[0] % lanes)).unsqueeze(0).contiguous().numpy()


def _target(result: Tensor, rows: np.ndarray) -> np.ndarray:
    """The result's own memory as (batch, L, D) where kernels can write to it, else memory beside it."""
    direct = result.transpose(1, 2)
    return direct.numpy() if direct.is_contiguous() and direct.shape == rows.shape else np.empty_like(rows)


def _returned(result: Tensor, written: np.ndarray) -> Tensor:
    """The result, complete also where the kernels wrote beside it."""
    if written.ctypes.data != result.data_ptr():
        result.copy_(torch.from_numpy(written)[..., : result.shape[1]].transpose(1, 2))
    return result


Stretch = tuple[int, int, int, int]


def _stretches(rows: np.ndarray) -> list[Stretch]:
    """Work as (sample, first row, row after the last, running number)."""
    batch, length, channels = rows.shape
    step = max(1, STRETCH // channels)
    starts = [(sample, begin) for sample in range(batch) for begin in range(0, length, step)]
    return [(sample, begin, min(begin + step, length), part) for part, (sample, begin) in enumerate(starts)]
