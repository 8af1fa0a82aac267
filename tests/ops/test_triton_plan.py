"""The launches of the Triton kernels for sizes too large to run: their grids, and the scratch they take."""

from collections import defaultdict

import pytest
import torch

from nnunetv2_mamba.ops.scan import library, triton_plan
from nnunetv2_mamba.ops.scan.backends.triton import TritonBackend
from nnunetv2_mamba.ops.scan.contract import CHUNK, ScanArguments

triton = pytest.importorskip("triton")

LARGE = {
    "many windows": {"batch": 70_000, "length": 4},
    "many windows, gated": {"batch": 70_000, "length": 4, "gate": True},
    "long": {"length": 2**21, "channels": 64},
    "long, many states": {"length": 2**21, "channels": 2048, "d_state": 256, "directions": 6},
    "wide": {"length": 64, "channels": 16_384, "d_state": 256},
    "as many groups as channels": {"length": 2**14, "channels": 2048, "groups": 2048},
    "half a million sequences": {"batch": 90_000, "length": 49, "directions": 6, "channels": 96},
}


@pytest.fixture
def launches(monkeypatch):
    """Grids and arguments by kernel of a forward and a backward pass on an H200, without memory behind the tensors."""
    found = defaultdict(list)

    def record(self, *arguments, grid, warmup, **options):
        found[self.__name__].append((grid, dict(zip(self.arg_names, arguments, strict=False))))

    monkeypatch.setattr(triton.JITFunction, "run", record)
    monkeypatch.setattr(triton_plan, "processors", lambda device: 132)

    def launch(batch=1, length=4, channels=8, d_state=16, directions=1, groups=1, gate=False):
        def empty(*shape, dtype=torch.float32):
            return torch.empty(shape, dtype=dtype, device="meta")

        u, A = empty(batch, length, channels).mT, empty(directions, channels, d_state)
        delta = empty(batch, directions, length, channels).mT
        B = empty(batch, directions, groups, length, d_state).mT
        orders = empty(directions, length, dtype=torch.int64)
        scan = ScanArguments(u, delta, A, B, B, A[..., 0], A[..., 0], u if gate else None, True, orders)
        states = empty(batch, directions, -(-length // CHUNK), d_state, channels)
        backend = TritonBackend()
        backend.forward(scan, torch.empty_like(u), states)
        backend.backward(scan, torch.empty_like(u), states, library._gradients(scan))
        return found

    return launch


@pytest.mark.parametrize("case", LARGE.values(), ids=LARGE)
def test_no_grid_is_larger_than_a_gpu_takes(launches, case):
    found = launches(**case)
    assert {"scan_forward", "scan_backward"} <= set(found)
    for name, calls in found.items():
        for (x, y, z), _ in calls:
            assert x < 2**31, name
            assert y < 2**16, name
            assert z < 2**16, name


def test_a_long_scan_fills_the_gpu(launches):
    found = launches(length=2**21, channels=64)
    assert {"segment_ends", "join_segments"} <= set(found)
    for name in ("scan_forward", "scan_backward"):
        x, y, z = found[name][0][0]
        assert 1000 < x * y * z < 3000, name


@pytest.mark.parametrize("d_state", [16, 64, 256])
def test_scratch_of_segments_is_bounded(launches, d_state):
    found = launches(length=2**18, channels=512, d_state=d_state, directions=4)
    _, arguments = found["scan_backward"][0]
    for name in ("starts", "carry", "of_channels"):
        assert _bytes(arguments[name]) <= 2**28, name
    assert arguments["starts"].shape[2] > 1


def test_parts_of_all_directions_are_kept_where_they_are_small(launches):
    ((_, few),) = launches(length=2**12, channels=128, d_state=16, directions=4)["scan_backward"]
    assert few["dB_dC"].shape[2] == 4
    assert _bytes(few["dB_dC"]) <= 2**28


def test_parts_too_large_for_all_directions_are_of_one(launches):
    calls = launches(length=2**17, channels=128, d_state=256, directions=4)["scan_backward"]
    assert [arguments["first_direction"] for _, arguments in calls] == [0, 1, 2, 3]
    # N / 64 times the delta of a direction.
    assert {_bytes(arguments["dB_dC"]) for _, arguments in calls} == {4 * 4 * 128 * 2**17}


def _bytes(tensor):
    return tensor.numel() * tensor.element_size()
