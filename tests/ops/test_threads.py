"""The numba backend where processes fork, threads call at once, and a compiled graph calls it first of all."""

import multiprocessing
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from nnunetv2_mamba.ops import cross_selective_scan
from nnunetv2_mamba.ops.cpu import threads


def _inputs(seed: int = 0) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    return draw(2, 40, 6, 7), draw(2, 4, 40, 6, 7), -draw(4, 40, 3).exp(), draw(2, 4, 3, 6, 7), draw(2, 4, 3, 6, 7)


def _scan(inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
    return cross_selective_scan(*inputs, delta_softplus=True, backend="numba")


@pytest.fixture(autouse=True)
def _two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def _send_scan(connection, inputs: tuple[torch.Tensor, ...]) -> None:
    connection.send(_scan(inputs).tolist())


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own():
    inputs = _inputs()  # not drawn in the child: there, torch's own threads hang
    expected = _scan(inputs)
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=_send_scan, args=(theirs, inputs))
    child.start()
    try:
        assert ours.poll(60), "the child does not answer: it waits for threads that the fork did not copy"
        assert torch.equal(torch.tensor(ours.recv()), expected)
    finally:
        child.kill()
        child.join()


@pytest.mark.parametrize("own_pool", [False, True])
def test_all_threads_work_and_a_failure_comes_back(monkeypatch, own_pool):
    if own_pool:
        monkeypatch.setattr(threads, "_gomp_parallel", lambda: None)
    meeting = threading.Barrier(2, timeout=30)
    threads.run_in_threads(meeting.wait)  # returns only if two threads are in it at the same time

    def fail():
        raise MemoryError("no room for a tile")

    with pytest.raises(MemoryError, match="no room"):
        threads.run_in_threads(fail)
    assert torch.equal(_scan(_inputs()), _scan(_inputs()))


def test_two_threads_may_call_at_once():
    inputs = [_inputs(seed) for seed in range(8)]
    expected = [_scan(tensors) for tensors in inputs]
    with ThreadPoolExecutor(4) as pool:
        for want, have in zip(expected, pool.map(_scan, inputs), strict=True):
            assert torch.equal(want, have)


@pytest.mark.compile
def test_the_very_first_call_may_be_a_compiled_one():
    script = (
        "import torch; from nnunetv2_mamba.ops import selective_scan as scan\n"
        "u = torch.randn(1, 4, 9); A = -torch.rand(4, 3); B = torch.randn(1, 3, 9)\n"
        "f = torch.compile(lambda u: scan(u, u.abs(), A, B, B), fullgraph=True, backend='aot_eager')\n"
        "u.requires_grad_(); f(u).sum().backward()\n"
        "assert torch.allclose(f(u), scan(u, u.abs(), A, B, B, backend='reference'), atol=1e-5)\n"
        "assert u.grad.isfinite().all()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_openmp_libraries_of_other_packages_change_nothing():
    code = """
import torch
from nnunetv2_mamba.ops.cpu.threads import _gomp_parallel
alone = _gomp_parallel() is None
import nnunetv2.run.run_training
_gomp_parallel.cache_clear()
print(alone, _gomp_parallel() is None)
"""
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    alone, beside = found.stdout.split()[-2:]
    assert beside == alone
