"""Deliberately wrong CPU kernels: the self-check refuses each, and the scan stays right without them."""

import inspect
import logging

import pytest

from nnunetv2_mamba.ops import BackendError, selective_scan
from nnunetv2_mamba.ops.backends import BackendRegistry, Call
from nnunetv2_mamba.ops.scan import numba_backward, numba_forward
from nnunetv2_mamba.ops.scan.backends.numba import NumbaBackend
from nnunetv2_mamba.ops.scan.backends.reference import ReferenceBackend
from nnunetv2_mamba.ops.scan.backends.torch import ChunkedBackend
from nnunetv2_mamba.ops.scan.contract import CHUNK
from nnunetv2_mamba.ops.scan.registry import REGISTRY
from nnunetv2_mamba.ops.scan.self_check import largest_error

CPU = Call("cpu")


def _forgets_the_state(kernel, call):
    for start in range(0, len(call["order"]), CHUNK):
        kernel(**call | {"order": call["order"][start : start + CHUNK], "states": call["states"][start // CHUNK :][:1]})


def _walks_forwards_only(kernel, call):
    order = call["order"]
    kernel(**call | {"order": order[::-1].copy() if order[0] > order[-1] else order})


def _loses_the_last_visit(kernel, call):
    kernel(**call | {"order": call["order"][:-1]})


def _loses_the_last_channel(kernel, call):
    kernel(**call | {"end": call["end"] - 1})


def _adds_twice(kernel, call):
    kernel(**call)
    kernel(**call)


def _with(**wrong):
    def run(kernel, call):
        kernel(**call | wrong)

    run.__name__ = "_".join(wrong)
    return run


FORWARD = [
    _forgets_the_state,
    _walks_forwards_only,
    _loses_the_last_visit,
    _loses_the_last_channel,
    _with(use_softplus=False),
    _with(gated=False),
    _with(accumulate=False),
    _with(accumulate=True),
]
BACKWARD = [
    _walks_forwards_only,
    _adds_twice,
    *(_with(**{name: False}) for name in ("use_softplus", "gated", "accumulate")),
]


def _replace(monkeypatch, module, name, wrong):
    kernel = getattr(module, name)
    parameters = inspect.signature(kernel.py_func)

    def replacement(*arguments):
        wrong(lambda **call: kernel(*(call[p] for p in parameters.parameters)), parameters.bind(*arguments).arguments)

    monkeypatch.setattr(module, name, replacement)


@pytest.mark.parametrize("wrong", FORWARD, ids=lambda wrong: wrong.__name__)
def test_a_wrong_forward_kernel_is_refused(monkeypatch, wrong):
    _replace(monkeypatch, numba_forward, "scan_forward", wrong)
    assert not largest_error(NumbaBackend(), "cpu") < REGISTRY.tolerance


@pytest.mark.parametrize("wrong", BACKWARD, ids=lambda wrong: wrong.__name__)
def test_a_wrong_backward_kernel_is_refused(monkeypatch, wrong):
    _replace(monkeypatch, numba_backward, "scan_backward", wrong)
    assert not largest_error(NumbaBackend(), "cpu") < REGISTRY.tolerance


def test_the_kernels_as_they_are_pass():
    assert largest_error(NumbaBackend(), "cpu") < REGISTRY.tolerance / 10


def test_the_next_backend_takes_over_and_the_user_is_told(monkeypatch, caplog, draw, assert_close):
    _replace(monkeypatch, numba_forward, "scan_forward", _forgets_the_state)
    registry = BackendRegistry("selective_scan", [NumbaBackend(), ChunkedBackend(), ReferenceBackend()])
    with caplog.at_level(logging.WARNING):
        assert registry.select(CPU) == "torch"
    assert "backend numba on cpu rejected: its self-check is off by" in caplog.text
    with pytest.raises(BackendError, match="self-check is off by"):
        registry.select(CPU, forced="numba")
    monkeypatch.setattr("nnunetv2_mamba.ops.scan.interface.REGISTRY", registry)
    inputs = draw(1, 2, 50), draw(1, 2, 50), -draw(2, 3).exp(), draw(1, 3, 50), draw(1, 3, 50)
    expected = selective_scan(*inputs, delta_softplus=True, backend="reference")
    assert_close("y", expected, selective_scan(*inputs, delta_softplus=True), 1e-5)
