"""A training says what its scans run on, and does not start on plain PyTorch on CUDA unless it is told to."""

import errno
from functools import partial
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunetv2_mamba.ops import BackendError, Decision
from nnunetv2_mamba.ops.backends import BackendRegistry
from nnunetv2_mamba.trainers.nnUNetTrainerVMUNet import nnUNetTrainerVMUNet
from nnunetv2_mamba.training import trainer as trainer_module
from nnunetv2_mamba.training.safety.scan_backend import (
    PATIENCE,
    SlowScanError,
    describe_choice,
    refusal_to_train,
    scan_backend_for_training,
)

SLOWNESS = "twice as long"
OUT_OF_MEMORY = torch.OutOfMemoryError("CUDA out of memory")
FULL_DISK = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture(autouse=True)
def _no_variable(monkeypatch):
    monkeypatch.delenv("NNUNETV2_MAMBA_BACKEND", raising=False)


class SmallVMUNetTrainer(nnUNetTrainerVMUNet):
    network_overrides: ClassVar = {"features_per_stage": (8, 16), "d_state": 2}


class Fake:
    """A backend that is there, and fails its self-check so many times."""

    def __init__(self, name: str, failure: Exception | None = None, failures: int = 10**6) -> None:
        self.name, self.failure, self.failures = name, failure, failures

    def unavailable(self, device):
        return None

    def unsupported(self, call):
        return None

    def self_check(self, device):
        self.failures -= 1
        if self.failure and self.failures >= 0:
            raise self.failure
        return 0.0


class Time:
    """A clock that goes on only while somebody sleeps."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def clock(self) -> float:
        return sum(self.slept)


def settle(kernel: Fake, device: str = "cuda", time: Time | None = None) -> str:
    time = time or Time()
    registry = BackendRegistry(
        "scan",
        [kernel, Fake("torch")],
        slow={"cuda": ("torch",), "cpu": ("torch",)},
        slowness=SLOWNESS,
        clock=time.clock,
    )
    return scan_backend_for_training(device, registry, time.sleep)


def test_a_kernel_is_named():
    assert settle(Fake("kernel")) == "scan on cuda: kernel"


def test_plain_pytorch_on_cuda_is_refused_with_reason_factor_and_remedies():
    time = Time()
    with pytest.raises(SlowScanError) as refusal:
        settle(Fake("kernel", RuntimeError("no kernel image\nis available")), time=time)
    assert str(refusal.value) == (
        "scan on cuda would run on torch, which takes twice as long, since kernel is rejected: its self-check failed "
        "with RuntimeError: no kernel image is available: follow `nnUNetv2_mamba doctor`, or train with -device cpu, "
        "or set NNUNETV2_MAMBA_BACKEND=torch to train with it anyway."
    )
    assert not time.slept


@pytest.mark.parametrize(("failure", "remedy"), [(OUT_OF_MEMORY, "free memory"), (FULL_DISK, "TRITON_CACHE_DIR")])
def test_what_may_pass_is_tried_again_before_the_training_is_refused(failure, remedy):
    time = Time()
    with pytest.raises(SlowScanError, match=f"kernel is rejected for now: .*: .*{remedy}.* try again"):
        settle(Fake("kernel", failure), time=time)
    assert tuple(time.slept) == PATIENCE


@pytest.mark.parametrize("failures", [1, 2])
def test_what_passes_is_used(failures):
    time = Time()
    assert settle(Fake("kernel", FULL_DISK, failures), time=time) == "scan on cuda: kernel"
    assert tuple(time.slept) == PATIENCE[:failures]


def test_plain_pytorch_is_used_where_it_is_forced_by_name(monkeypatch):
    monkeypatch.setenv("NNUNETV2_MAMBA_BACKEND", "torch")
    said = settle(Fake("kernel"))
    assert said == "WARNING: scan on cuda: torch, which takes twice as long, as NNUNETV2_MAMBA_BACKEND says"


def test_a_kernel_that_is_forced_and_cannot_run_is_an_error_at_the_start(monkeypatch):
    monkeypatch.setenv("NNUNETV2_MAMBA_BACKEND", "kernel")
    time = Time()
    assert settle(Fake("kernel", FULL_DISK, 1), time=time) == "scan on cuda: kernel, as NNUNETV2_MAMBA_BACKEND says"
    assert tuple(time.slept) == PATIENCE[:1]
    with pytest.raises(BackendError, match="NNUNETV2_MAMBA_BACKEND=kernel: scan cannot use it here"):
        settle(Fake("kernel", RuntimeError("no kernel image")))


def test_a_name_that_only_another_op_has_does_not_force_the_scan(monkeypatch):
    monkeypatch.setenv("NNUNETV2_MAMBA_BACKEND", "causal_conv1d")
    with pytest.raises(SlowScanError):
        settle(Fake("kernel", RuntimeError("no kernel image")))


def test_on_the_cpu_it_is_a_warning():
    said = settle(Fake("kernel", RuntimeError("no kernel image")), device="cpu")
    assert said.startswith("WARNING: scan on cpu: torch, which takes twice as long, since kernel is rejected: ")


@pytest.mark.parametrize("backend", ["torch", "reference"])
@pytest.mark.parametrize(("device", "forced"), [("cuda", None), ("cuda", "numba"), ("cpu", None), ("mps", None)])
def test_only_cuda_refuses_and_only_what_is_not_forced(backend, device, forced):
    decisions = [
        Decision("scan", "triton", False, "rejected: it is off by 1"),
        Decision("scan", backend, True, "chosen", slow=SLOWNESS),
    ]
    assert (refusal_to_train(decisions, device, forced) is not None) is (device == "cuda")
    assert refusal_to_train(decisions, device, backend) is None
    assert describe_choice(decisions, device, backend).startswith("WARNING: ")


@pytest.fixture
def trainer(make_trainer, monkeypatch):
    started = []
    monkeypatch.setattr(nnUNetTrainer, "run_training", lambda self: started.append(self))
    trainer = make_trainer(SmallVMUNetTrainer)
    trainer.started = started
    return trainer


def _as_on_cuda(monkeypatch, kernel):
    """Have the trainers ask for cuda, which there need not be, with a registry of two."""
    monkeypatch.setattr(trainer_module, "scan_backend_for_training", lambda device: settle(kernel))


def _log(trainer):
    return Path(trainer.log_file).read_text()


def test_the_log_of_a_training_names_the_backend(trainer):
    trainer.run_training()
    assert trainer.started == [trainer]
    assert "selective_scan on cpu: numba" in _log(trainer)


def test_a_refused_training_has_started_nothing(trainer, monkeypatch):
    _as_on_cuda(monkeypatch, Fake("kernel", RuntimeError("no kernel image")))
    with pytest.raises(SlowScanError):
        trainer.run_training()
    assert not trainer.started
    assert not trainer.was_initialized
    assert trainer._lock is None


def test_the_log_of_a_training_that_is_forced_names_the_factor(trainer, monkeypatch):
    monkeypatch.setenv("NNUNETV2_MAMBA_BACKEND", "torch")
    _as_on_cuda(monkeypatch, Fake("kernel"))
    trainer.run_training()
    assert trainer.started == [trainer]
    assert "WARNING: scan on cuda: torch, which takes twice as long" in _log(trainer)


def test_a_training_that_is_finished_is_not_refused_its_validation(trainer, monkeypatch):
    _as_on_cuda(monkeypatch, Fake("kernel", RuntimeError("no kernel image")))
    trainer.current_epoch = trainer.num_epochs
    trainer.run_training()
    assert trainer.started == [trainer]


def test_the_trainer_asks_for_its_device(trainer, monkeypatch):
    asked = []
    monkeypatch.setattr(trainer_module, "scan_backend_for_training", lambda device: asked.append(device) or "said")
    trainer.device = torch.device("cuda", 0)
    trainer.run_training()
    assert asked == ["cuda"]


def test_prediction_on_plain_pytorch_is_not_refused(trainer, monkeypatch):
    refuse = partial(settle, Fake("kernel", RuntimeError("no kernel image")))
    monkeypatch.setattr(trainer_module, "scan_backend_for_training", lambda device: refuse())
    network = type(trainer).build_network_architecture(
        trainer.plans_manager, trainer.configuration_manager, 1, 2, enable_deep_supervision=False
    )
    assert isinstance(network, torch.nn.Module)
