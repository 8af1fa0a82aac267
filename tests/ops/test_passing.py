"""A failure that may pass is told apart from one that lasts, and tried again later; nothing changes without a word."""

import errno
import json
import logging
from pathlib import Path

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from nnunetv2_mamba.ops import BackendError, selective_scan
from nnunetv2_mamba.ops.backends import BackendRegistry, Call
from nnunetv2_mamba.ops.passing import MORE_MEMORY, PAUSES, WORKING_DISK, remedy_if_passing
from nnunetv2_mamba.ops.scan.backends.reference import ReferenceBackend
from nnunetv2_mamba.ops.scan.backends.torch import ChunkedBackend
from nnunetv2_mamba.ops.scan.backends.triton import TritonBackend
from nnunetv2_mamba.ops.scan.registry import REGISTRY, TIMES_AS_LONG

CPU = Call("cpu")
FULL_DISK = OSError(errno.ENOSPC, "No space left on device")
BROKEN_LIBRARY = OSError("libcudart.so.12: cannot open shared object file: No such file or directory")


@pytest.fixture(autouse=True)
def _no_variable(monkeypatch):
    monkeypatch.delenv("NNUNETV2_MAMBA_BACKEND", raising=False)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Kernel(ChunkedBackend):
    """Fails a number of times, when it is looked for or when it checks itself."""

    name = "kernel"

    def __init__(self, failure: Exception, failures: int = 1, where: str = "self_check") -> None:
        self.failure, self.failures, self.where = failure, failures, where
        self.tries = 0

    def _try(self, where: str) -> None:
        if where == self.where:
            self.tries += 1
            if self.tries <= self.failures:
                raise self.failure

    def unavailable(self, device):
        self._try("unavailable")

    def self_check(self, device):
        self._try("self_check")
        return 0.0


def registry_of(*backends, clock=None, **options):
    return BackendRegistry("scan", [*backends, ReferenceBackend()], clock=clock or Clock(), **options)


def caused_by(cause: Exception, *, in_handling: bool = False) -> Exception:
    try:
        try:
            raise cause
        except Exception as failure:
            if in_handling:
                raise ValueError("compilation failed")  # noqa: B904
            raise ValueError("compilation failed") from failure
    except ValueError as error:
        return error


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB."), MORE_MEMORY),
        (MemoryError(), MORE_MEMORY),
        (RuntimeError("CUDA error: out of memory"), MORE_MEMORY),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), MORE_MEMORY),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), MORE_MEMORY),
        (FULL_DISK, WORKING_DISK),
        (OSError(errno.ESTALE, "Stale file handle"), WORKING_DISK),
        (OSError(errno.ETXTBSY, "Text file busy"), WORKING_DISK),
        (PermissionError(errno.EACCES, "Permission denied", "cache/libcuda.so"), WORKING_DISK),
        (OSError("the cache is being written"), WORKING_DISK),
        (caused_by(FULL_DISK), WORKING_DISK),
        (caused_by(FULL_DISK, in_handling=True), WORKING_DISK),
        (BROKEN_LIBRARY, None),
        (ImportError("selective_scan_cuda.so: undefined symbol: _ZN3c10"), None),
        (RuntimeError("no kernel image is available for execution on the device"), None),
        (RuntimeError("out of resource: shared memory, Required: 131072, Hardware limit: 101376"), None),
        (caused_by(TypeError("unsupported")), None),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_may_pass_has_a_remedy(error, remedy):
    assert remedy_if_passing(error) == remedy


def test_causes_that_go_round_in_circles_end():
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert remedy_if_passing(first) is None


@pytest.mark.parametrize("where", ["self_check", "unavailable"])
@pytest.mark.parametrize("failure", [FULL_DISK, torch.OutOfMemoryError("CUDA out of memory")], ids=["disk", "memory"])
def test_a_backend_whose_failure_passes_is_taken_again(where, failure):
    clock = Clock()
    registry = registry_of(Kernel(failure, where=where), clock=clock)
    with torch.no_grad():
        assert registry.select(CPU) == "reference"
        clock.now = PAUSES[0]
        assert registry.select(CPU) == "kernel"


@pytest.mark.parametrize("where", ["self_check", "unavailable"])
def test_a_backend_whose_failure_lasts_is_asked_once(where):
    clock, kernel = Clock(), Kernel(BROKEN_LIBRARY, where=where)
    registry = registry_of(kernel, clock=clock)
    with torch.no_grad():
        for clock.now in (0.0, 1e3, 1e6):
            assert registry.select(CPU) == "reference"
    assert kernel.tries == 1


def test_the_tries_grow_apart_and_never_end():
    clock, kernel = Clock(), Kernel(FULL_DISK, failures=10**6)
    registry = registry_of(kernel, clock=clock)
    tried_at = []
    with torch.no_grad():
        for clock.now in range(4000):
            before = kernel.tries
            registry.select(CPU)
            if kernel.tries > before:
                tried_at.append(clock.now)
    assert tried_at == [0, 1, 11, 111, 1111, 2111, 3111]


def test_a_block_that_is_computed_twice_gets_the_same_backend_both_times():
    """The backward pass of a checkpointed block repeats it, and must find the tensors that the first pass kept."""
    clock = Clock()
    registry = registry_of(Kernel(FULL_DISK), clock=clock)
    chosen = []

    def block(x):
        chosen.append(registry.select(CPU))
        return x.square()

    y = checkpoint(block, torch.ones(3, requires_grad=True), use_reentrant=False)
    clock.now = 1e6
    y.sum().backward()
    assert chosen == ["reference", "reference"]
    with torch.no_grad():
        assert registry.select(CPU) == "kernel"


def test_a_change_of_backend_is_logged(caplog):
    clock = Clock()
    registry = registry_of(Kernel(FULL_DISK), clock=clock)
    with torch.no_grad(), caplog.at_level(logging.WARNING):
        registry.select(CPU)
        clock.now = 1e6
        for _ in range(2):
            registry.select(CPU)
    assert [record.message for record in caplog.records] == [
        "scan: backend kernel on cpu rejected for now, and tried again later: its self-check failed with OSError: "
        "[Errno 28] No space left on device",
        "scan on cpu: kernel from now on, instead of reference",
    ]


def test_explain_says_that_a_refusal_may_pass():
    refused = registry_of(Kernel(FULL_DISK)).explain(CPU)[0]
    assert refused.reason.startswith("rejected for now: its self-check failed with OSError")
    assert refused.remedy == WORKING_DISK
    lasting = registry_of(Kernel(BROKEN_LIBRARY)).explain(CPU)[0]
    assert lasting.reason.startswith("rejected: its self-check failed with OSError: libcudart.so.12")
    assert lasting.remedy is None


def test_a_forced_backend_whose_failure_may_pass_says_what_to_do():
    with pytest.raises(BackendError, match=r"cannot use it here because its self-check failed with OutOfMemoryError"):
        registry_of(Kernel(torch.OutOfMemoryError("no"))).select(CPU, forced="kernel")
    with pytest.raises(BackendError, match="free memory"):
        registry_of(Kernel(torch.OutOfMemoryError("no"))).select(CPU, forced="kernel")


def test_the_pages_of_a_compiler_become_one_line():
    refused = registry_of(Kernel(RuntimeError("at 12:3:\n" + "  much\n" * 1000), failures=9)).explain(CPU)[0]
    assert refused.reason.startswith("rejected: its self-check failed with RuntimeError: at 12:3: much much")
    assert "\n" not in refused.reason
    assert len(refused.reason) < 600


def test_triton_that_meets_a_full_disk_at_its_import_may_pass(monkeypatch):
    def full(name):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("nnunetv2_mamba.ops.scan.backends.triton.importlib.import_module", full)
    monkeypatch.setattr(torch.version, "hip", None)
    refused = registry_of(TritonBackend()).explain(Call("cuda"))[0]
    assert refused.reason == "rejected for now: it does not load: OSError: [Errno 28] No space left on device"
    assert refused.remedy == WORKING_DISK


def slow_registry(*backends, clock=None):
    return registry_of(*backends, clock=clock, slow={"cuda": ("reference",)}, slowness="twice as long")


def test_a_slow_backend_on_cuda_is_said_once_with_the_reason(caplog):
    registry = slow_registry(Kernel(BROKEN_LIBRARY))
    with caplog.at_level(logging.WARNING):
        for index_bits in (32, 64, 32):
            assert registry.select(Call("cuda", index_bits=index_bits)) == "reference"
    said = [record.message for record in caplog.records if "takes" in record.message]
    assert said == [
        "scan on cuda: reference, which takes twice as long; kernel: its self-check failed with OSError: "
        "libcudart.so.12: cannot open shared object file: No such file or directory"
    ]


def test_a_slow_backend_is_not_worth_a_word_where_it_is_forced_or_nothing_is_faster(caplog, monkeypatch):
    with caplog.at_level(logging.WARNING):
        assert slow_registry().select(CPU) == "reference"
        monkeypatch.setenv("NNUNETV2_MAMBA_BACKEND", "reference")
        assert slow_registry(Kernel(BROKEN_LIBRARY)).select(Call("cuda")) == "reference"
    assert "takes" not in caplog.text


def test_torch_compile_takes_the_backend_that_is_there_and_says_that_it_is_slow(
    monkeypatch, caplog, draw, assert_close
):
    registry = registry_of(Kernel(FULL_DISK, failures=9), ChunkedBackend(), slow={"cpu": ("torch",)}, slowness="long")
    monkeypatch.setattr("nnunetv2_mamba.ops.scan.interface.REGISTRY", registry)
    inputs = draw(1, 2, 9), draw(1, 2, 9).exp(), -draw(2, 3).exp(), draw(1, 3, 9), draw(1, 3, 9)
    torch._dynamo.reset()
    with caplog.at_level(logging.WARNING):
        found = torch.compile(selective_scan, fullgraph=True, backend="aot_eager")(*inputs)
    assert "scan on cpu: torch, which takes long; kernel: its self-check failed" in caplog.text
    assert_close("y", selective_scan(*inputs, backend="reference"), found, 1e-5)


def test_plain_pytorch_is_slow_where_a_kernel_was_made_for_the_device():
    slow = {device: [d.backend for d in REGISTRY.explain(Call(device)) if d.slow] for device in ("cpu", "mps")}
    assert slow == {"cpu": ["torch", "reference"], "mps": ["reference"]}
    assert REGISTRY.slow["cuda"] == ("torch", "reference")


def test_the_factor_is_one_that_was_measured():
    """In every cell of the committed benchmark, forward and with the backward pass."""
    results = json.loads(Path(__file__).parents[2].joinpath("benchmarks", "results", "scan.json").read_text())
    cells = {}
    for cell in [*results["cells"], *results["grids"]]:
        if "forward_seconds" in cell and cell["device"] == "cpu":
            key = (cell["channels"], tuple(cell["spatial"]), cell["d_state"])
            cells.setdefault(key, {})[cell["contender"]] = cell
    ratios = [
        of[name][seconds] / of["numba"][seconds]
        for of in cells.values()
        for name in ("torch", "reference")
        if name in of
        for seconds in ("forward_seconds", "both_seconds")
    ]
    assert len(ratios) > 40
    assert min(ratios) > TIMES_AS_LONG["cpu"]


def test_so_is_that_of_a_gpu():
    results = json.loads(Path(__file__).parents[2].joinpath("benchmarks", "results", "h200.json").read_text())
    cells = {}
    for cell in results["scan_cells"]:
        if "skipped" not in cell:
            key = (cell["channels"], cell["length"], cell["d_state"])
            cells.setdefault(key, {})[cell["contender"]] = cell
    both_measured = [of for of in cells.values() if {"torch", "triton"} <= of.keys()]
    ratios = [of["torch"][time] / of["triton"][time] for of in both_measured for time in ("forward_ms", "both_ms")]
    assert len(ratios) > 20
    assert min(ratios) > TIMES_AS_LONG["cuda"]
