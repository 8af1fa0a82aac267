"""What nnU-Net's prediction asks of a network: no memory for a backward pass, nothing extra per tile, any process."""

import multiprocessing
from collections import Counter
from multiprocessing.connection import Connection

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from nnunetv2_mamba.building_blocks.conv_decoder import ConvUpStage
from nnunetv2_mamba.building_blocks.mamba import Mamba
from nnunetv2_mamba.building_blocks.ss2d import SSND
from tests.architectures.small_networks import MEMBERS, small_network, sweep

SCAN = "nnunetv2_mamba.grid_scan"
COPIES = ("clone", "copy_", "_to_copy", "cat", "stack", "contiguous")


class Operations(TorchDispatchMode):
    """Counts PyTorch's operations, the elements they copy, and what scans read and keep for a backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.copied = self.states = self.largest_scan = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        result = function(*arguments, **(keywords or {}))
        name = str(function.overloadpacket)
        self.calls[name] += 1
        if name.removeprefix("aten.") in COPIES:
            self.copied += result.numel()
        if name == SCAN:
            self.states += result[1].numel()
            # Its step sizes: as many as there are directions, positions and channels.
            self.largest_scan = max(self.largest_scan, arguments[1].numel())
        return result


def make_network(name: str, conv_op: type[nn.Module] = nn.Conv2d) -> nn.Module:
    torch.manual_seed(0)
    axes = 2 if conv_op is nn.Conv2d else 3
    strides = ((1,) * axes, (4,) * axes, (2,) * axes)
    return small_network(name, 1, 2, strides, widths=(32, 64), d_state=16, conv_op=conv_op).eval()


def operations(network: nn.Module, image: torch.Tensor) -> Operations:
    network(image)  # the first scan of a process checks its backend
    with Operations() as seen:
        network(image)
    return seen


def require_scans(name: str, network: nn.Module) -> int:
    """The number of a network's scans; the test is skipped where it has none."""
    scans = sum(isinstance(module, SSND | Mamba) for module in network.modules())
    if not scans:
        pytest.skip(f"{name} has no scan")
    return scans


@sweep
@pytest.mark.parametrize("mode", ["inference_mode", "no_grad"])
def test_scans_keep_no_states(name, mode):
    network, image = make_network(name), torch.randn(1, 1, 32, 64)
    scans = require_scans(name, network)
    assert operations(network, image).states > 0
    with getattr(torch, mode)():
        seen = operations(network, image)
    assert seen.states == 0
    assert seen.calls[SCAN] == scans


@sweep
@pytest.mark.parametrize(("conv_op", "size"), [(nn.Conv2d, (64, 96)), (nn.Conv3d, (16, 24, 32))], ids=["2d", "3d"])
def test_nothing_as_large_as_the_scans_is_copied(name, conv_op, size):
    """Directions, layouts and full resolution cost no copy: all together they move less than one scan reads."""
    network = make_network(name, conv_op)
    require_scans(name, network)
    joined = []
    for module in network.modules():
        if isinstance(module, ConvUpStage):  # where concatenated skips are what the network is
            module.blocks[0].register_forward_pre_hook(lambda block, inputs: joined.append(inputs[0].numel()))
    with torch.no_grad():  # inference mode does the same, but does not show the copies that hide in a reshape
        seen = operations(network, torch.randn(1, 1, *size))
    counted = joined[len(joined) // 2 :]  # the first run is a rehearsal
    assert 0 < seen.copied - sum(counted) < seen.largest_scan


@sweep
def test_mirrored_tiles_take_the_same_way(name):
    network, tile = make_network(name), torch.randn(1, 1, 32, 64)
    with torch.inference_mode():
        plain = operations(network, tile)
        for axes in ((2,), (3,), (2, 3)):
            mirrored = operations(network, tile.flip(axes))
            assert mirrored.calls == plain.calls
            assert mirrored.copied == plain.copied


def _predict(connection: Connection, network: nn.Module, tile: torch.Tensor) -> None:
    # PyTorch's own operations hang in a forked child whose parent has used several threads; with one they do not.
    torch.set_num_threads(1)
    with torch.inference_mode():
        connection.send(network(tile).tolist())


@pytest.mark.parametrize(("name", "method"), [*((name, "fork") for name in MEMBERS), ("S3Mamba", "spawn")])
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_predicts_in_other_processes_after_it_ran_in_this_one(name, method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system cannot {method}")
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    network, tile = make_network(name), torch.randn(1, 1, 64, 64)
    try:
        with torch.inference_mode():
            expected = network(tile)
    finally:
        torch.set_num_threads(threads)
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context(method).Process(target=_predict, args=(theirs, network, tile))
    child.start()
    try:
        assert ours.poll(120), "the other process does not answer"
        torch.testing.assert_close(torch.tensor(ours.recv()), expected)
    finally:
        child.kill()
        child.join()
