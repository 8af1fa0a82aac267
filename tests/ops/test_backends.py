"""Which backend is taken, how one is forced, and that a wrong or broken one is refused with a reason."""

import sys
import types

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.checkpoint import checkpoint

from nnunetv2_mamba.ops import BackendError, causal_conv1d, explain, selective_scan
from nnunetv2_mamba.ops.backends import BackendRegistry, Call
from nnunetv2_mamba.ops.scan.backends.mamba_ssm import MambaSsmBackend
from nnunetv2_mamba.ops.scan.backends.numba import NumbaBackend
from nnunetv2_mamba.ops.scan.backends.reference import ReferenceBackend
from nnunetv2_mamba.ops.scan.backends.torch import ChunkedBackend
from nnunetv2_mamba.ops.scan.contract import CHUNK, ScanArguments
from nnunetv2_mamba.ops.scan.orders import visiting_orders
from nnunetv2_mamba.ops.scan.registry import REGISTRY
from nnunetv2_mamba.ops.scan.self_check import largest_error

CPU = Call("cpu")
INTERFACE = "mamba_ssm.ops.selective_scan_interface"


@pytest.fixture(autouse=True)
def _no_variable(monkeypatch):
    monkeypatch.delenv("NNUNETV2_MAMBA_BACKEND", raising=False)


@pytest.fixture
def inputs(draw):
    return draw(1, 2, 5), draw(1, 2, 5), -draw(2, 3).exp(), draw(1, 3, 5), draw(1, 3, 5)


def _registry(*backends):
    return BackendRegistry("test", [*backends, ReferenceBackend()])


def test_the_cpu_takes_numba_and_float64_takes_torch():
    assert REGISTRY.select(CPU) == "numba"
    assert REGISTRY.select(Call("cpu", torch.float64)) == "torch"


def test_the_argument_counts_more_than_the_variable(monkeypatch):
    monkeypatch.setenv("NNUNETV2_MAMBA_BACKEND", "torch")
    assert REGISTRY.select(CPU) == "torch"
    assert REGISTRY.select(CPU, forced="reference") == "reference"


def test_an_unknown_name_lists_the_valid_ones(monkeypatch, inputs):
    with pytest.raises(BackendError, match=r"backend=tritn: .*numba, triton, mamba_ssm, torch, reference"):
        selective_scan(*inputs, backend="tritn")
    monkeypatch.setenv("NNUNETV2_MAMBA_BACKEND", "nmba")
    with pytest.raises(BackendError, match=r"NNUNETV2_MAMBA_BACKEND=nmba: .*numba"):
        selective_scan(*inputs)


def test_a_forced_backend_that_cannot_run_says_why(inputs):
    with pytest.raises(BackendError, match="mamba_ssm: selective_scan cannot use it here because it runs on cuda"):
        selective_scan(*inputs, backend="mamba_ssm")
    with pytest.raises(BackendError, match="not in float64"):
        selective_scan(*(t.double() for t in inputs), backend="numba")


def test_the_variable_leaves_ops_alone_that_have_no_such_backend(monkeypatch, draw):
    monkeypatch.setenv("NNUNETV2_MAMBA_BACKEND", "reference")
    assert causal_conv1d(draw(1, 2, 5), draw(2, 4)).shape == (1, 2, 5)


def test_a_scan_of_2_to_the_31_elements_is_not_given_to_mamba_ssm(monkeypatch):
    """Its kernel counts in 32 bits; the sizes here are those of views, which take no memory."""
    seen = []

    def asked(call, forced):
        seen.append(call)
        raise StopIteration

    monkeypatch.setattr(REGISTRY, "select", asked)
    one = torch.zeros(1, 1, 1)
    for length in (2**21 - 1, 2**21):
        u, state = one.expand(1, 1024, length), one.expand(1, 1, length)
        with pytest.raises(StopIteration):
            selective_scan(u, u, torch.zeros(1024, 1), state, state)
    assert [call.index_bits for call in seen] == [32, 64]
    refusals = [MambaSsmBackend().unsupported(call) for call in seen]
    assert refusals[0] is None
    assert "2^31" in refusals[1]


def test_every_backend_passes_its_self_check():
    for name in ("numba", "torch"):
        assert REGISTRY.backends[name].self_check("cpu") < 2e-5


class _WrongBackend(ChunkedBackend):
    name = "wrong"

    def forward(self, scan, y, states):
        super().forward(scan, y, states)
        y[..., -1] += 0.01


class _WrongGradientBackend(ChunkedBackend):
    name = "wrong gradient"

    def backward(self, scan, dy, states, grads):
        super().backward(scan, dy, states, grads)
        grads[3].mul_(1.01)


class _CrashingBackend(ChunkedBackend):
    name = "crashing"

    def forward(self, scan, y, states):
        raise RuntimeError("no kernel image is available")


@pytest.mark.parametrize(
    ("backend", "reason"),
    [(_WrongBackend(), "off by"), (_WrongGradientBackend(), "off by"), (_CrashingBackend(), "no kernel image")],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_wrong_backend_is_refused_loudly(caplog, backend, reason):
    registry = _registry(backend)
    assert registry.select(CPU) == "reference"
    assert reason in caplog.text
    with pytest.raises(BackendError, match=reason):
        registry.select(CPU, forced=backend.name)
    decisions = {decision.backend: decision for decision in registry.explain(CPU)}
    assert not decisions[backend.name].chosen
    assert reason in decisions[backend.name].reason
    assert decisions["reference"].chosen


def test_whether_a_backend_is_there_is_asked_once():
    class Counting(ChunkedBackend):
        questions = 0

        def unavailable(self, device):
            Counting.questions += 1
            return "it is broken"

    registry = _registry(Counting())
    for _ in range(3):
        assert registry.select(CPU) == "reference"
    assert Counting.questions == 1


def test_the_self_check_runs_once():
    class Counting(ChunkedBackend):
        checks = 0

        def self_check(self, device):
            Counting.checks += 1
            return 0.0

    registry = _registry(Counting())
    for _ in range(3):
        registry.select(CPU)
    assert Counting.checks == 1


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, lambda: torch.autocast("cpu", torch.bfloat16)])
def test_the_first_call_may_come_from_a_prediction(mode):
    registry = _registry(ChunkedBackend())
    with mode():
        assert registry.select(CPU) == "torch"


def test_a_self_check_that_is_not_a_number_is_no_pass():
    class NotANumber(ChunkedBackend):
        def self_check(self, device):
            return float("nan")

    assert _registry(NotANumber()).select(CPU) == "reference"


def test_the_first_call_may_come_from_a_checkpointed_block():
    registry = _registry(ChunkedBackend())

    def block(x):
        assert registry.select(CPU) == "torch"
        return x.square()

    x = torch.ones(3, requires_grad=True)
    checkpoint(block, x, use_reentrant=False).sum().backward()
    assert x.grad.tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    "circumstances",
    [FakeTensorMode, torch.inference_mode, lambda: torch.device("meta"), lambda: torch.autocast("cpu", torch.bfloat16)],
    ids=["fake", "inference", "meta", "autocast"],
)
def test_the_first_call_may_come_from_anywhere(circumstances):
    registry = _registry(NumbaBackend())
    visiting_orders.cache_clear()
    with circumstances():
        assert registry.select(CPU) == "numba"
    assert type(visiting_orders((3, 5), ((0, 1),), 1)) is torch.Tensor
    assert registry.refusal("numba", CPU) is None


def test_the_first_call_may_come_under_another_default_dtype():
    registry = _registry(NumbaBackend())
    torch.set_default_dtype(torch.float64)
    try:
        assert registry.select(CPU) == "numba"
    finally:
        torch.set_default_dtype(torch.float32)


def test_the_backward_pass_reads_its_saved_tensors_once(inputs):
    leaves = [tensor.requires_grad_() for tensor in inputs]
    expected = torch.autograd.grad(selective_scan(*leaves).sum(), leaves)
    found = torch.autograd.grad(checkpoint(selective_scan, *leaves, use_reentrant=False).sum(), leaves)
    assert all(torch.equal(*pair) for pair in zip(expected, found, strict=True))


def test_explain_speaks_of_every_backend_once():
    decisions = explain("cpu")
    assert {(d.op, d.backend) for d in decisions} == {
        *(("selective_scan", name) for name in ("mamba_ssm", "numba", "triton", "torch", "reference")),
        *(("causal_conv1d", name) for name in ("causal_conv1d", "numba", "torch")),
    }
    assert {(d.op, d.backend) for d in decisions if d.chosen} == {
        (op, "numba") for op in ("selective_scan", "causal_conv1d")
    }
    assert all(d.reason for d in decisions)


def test_explain_when_the_variable_forces_one(monkeypatch):
    monkeypatch.setenv("NNUNETV2_MAMBA_BACKEND", "torch")
    assert [d.backend for d in REGISTRY.explain(CPU) if d.chosen] == ["torch"]
    monkeypatch.setenv("NNUNETV2_MAMBA_BACKEND", "nmba")
    assert not any(d.chosen for d in REGISTRY.explain(CPU))


def _pretend_mamba_ssm(monkeypatch, interface):
    for name in ("mamba_ssm", "mamba_ssm.ops"):
        package = types.ModuleType(name)
        package.__path__ = []
        monkeypatch.setitem(sys.modules, name, package)
    monkeypatch.setitem(sys.modules, INTERFACE, interface)


def test_mamba_ssm_that_is_not_there_is_named_with_its_extra():
    assert "nnunetv2-mamba[cuda]" in MambaSsmBackend().unavailable("cuda")


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("raise ImportError('selective_scan_cuda.so: undefined symbol: _ZN3c10')", "undefined symbol"),
        ("raise OSError('libcudart.so.12: cannot open shared object file')", "libcudart"),
        ("import selective_scan_cuda", "MAMBA_KEEP_CUDA_BUILD"),
    ],
)
def test_a_broken_mamba_ssm_is_a_reason_and_not_an_error(monkeypatch, tmp_path, statement, reason):
    folder = tmp_path / "mamba_ssm" / "ops"
    folder.mkdir(parents=True)
    for package in (folder.parent, folder):
        (package / "__init__.py").touch()
    (folder / "selective_scan_interface.py").write_text(statement)
    monkeypatch.syspath_prepend(tmp_path)
    assert reason in MambaSsmBackend().unavailable("cuda")
    for name in [name for name in sys.modules if name.startswith("mamba_ssm")]:
        del sys.modules[name]


def _kernel(factor=1.0):
    """mamba_ssm's function on the CPU: contiguous sequences in, an autograd function with explicit gradients inside."""

    def arguments(u, delta, A, B, C, D, delta_bias, delta_softplus):
        order = torch.arange(u.shape[-1]).unsqueeze(0)
        return ScanArguments(
            u, delta[:, None], A[None], B[:, None], C[:, None], D[None], delta_bias[None], None, delta_softplus, order
        )

    class SelectiveScan(torch.autograd.Function):
        @staticmethod
        def forward(ctx, u, delta, A, B, C, D, delta_bias, delta_softplus):
            assert all(t.stride(-1) == 1 for t in (u, delta, B, C))
            scan = arguments(u, delta, A, B, C, D, delta_bias, delta_softplus)
            y = torch.empty_like(u)
            states = u.new_empty(u.shape[0], 1, -(-u.shape[-1] // CHUNK), A.shape[1], u.shape[1])
            ChunkedBackend().forward(scan, y, states)
            ctx.save_for_backward(u, delta, A, B, C, D, delta_bias, states)
            ctx.delta_softplus = delta_softplus
            return y

        @staticmethod
        def backward(ctx, dy):
            *tensors, states = ctx.saved_tensors
            scan = arguments(*tensors, ctx.delta_softplus)
            grads = [torch.empty_like(t) for t in tensors]
            views = (grads[0], grads[1][:, None], grads[2][None], *(g[:, None] for g in grads[3:5]))
            vectors = (g[None] for g in grads[5:])
            ChunkedBackend().backward(scan, dy * factor, states, (*views, *vectors, dy.new_empty(0)))
            return *grads, None

    def selective_scan_fn(u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False):
        assert z is None
        return SelectiveScan.apply(u, delta, A, B, C, D, delta_bias, delta_softplus)

    module = types.ModuleType(INTERFACE)
    module.selective_scan_fn = selective_scan_fn
    return module


def test_the_adapter_speaks_mamba_ssm_correctly(monkeypatch):
    _pretend_mamba_ssm(monkeypatch, _kernel())
    assert largest_error(MambaSsmBackend(), "cpu") < 1e-5


def test_the_adapter_does_not_hide_a_wrong_kernel(monkeypatch):
    _pretend_mamba_ssm(monkeypatch, _kernel(factor=1.01))
    assert largest_error(MambaSsmBackend(), "cpu") > 5e-3


def test_mamba_ssm_runs_inside_the_registered_op(monkeypatch, draw, assert_close):
    class OnCpu(MambaSsmBackend):
        def unavailable(self, device):
            return None

    _pretend_mamba_ssm(monkeypatch, _kernel())
    monkeypatch.setitem(REGISTRY.backends, "mamba_ssm", OnCpu())
    results = []
    shapes = ((2, 4, 9), (2, 4, 9), (4, 3), (2, 2, 3, 9), (2, 2, 3, 9))
    inputs = [draw(*shape) for shape in shapes]
    inputs[2] = -inputs[2].exp()
    for backend in ("reference", "mamba_ssm"):
        leaves = [t.clone().requires_grad_() for t in inputs]
        y = selective_scan(*leaves, delta_softplus=True, backend=backend)
        results.append([y, *torch.autograd.grad(y.pow(2).sum(), leaves)])
    for expected, found in zip(*results, strict=True):
        assert_close("mamba_ssm", expected, found, 1e-5)
