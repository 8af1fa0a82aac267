"""The variables that change a training."""

import pytest
import torch

from nnunetv2_mamba.training.recipe.autocast import autocast_dtype
from nnunetv2_mamba.training.settings import (
    QuickRun,
    autocast_from_environment,
    checkpointed_stages_from_environment,
)

VARIABLES = ("NNUNETV2_MAMBA_EPOCHS", "NNUNETV2_MAMBA_ITERATIONS", "NNUNETV2_MAMBA_VAL_ITERATIONS")
AUTOCAST = "NNUNETV2_MAMBA_AUTOCAST"
STAGES = "NNUNETV2_MAMBA_CHECKPOINTED_STAGES"


@pytest.fixture(autouse=True)
def _unset(monkeypatch):
    for variable in (*VARIABLES, AUTOCAST, STAGES):
        monkeypatch.delenv(variable, raising=False)


def test_nothing_set_changes_nothing():
    assert QuickRun.from_environment() == QuickRun(None, None, None)
    assert autocast_from_environment() is None
    assert checkpointed_stages_from_environment() is None


@pytest.mark.parametrize(("text", "stages"), [("0", [0]), ("0,1", [0, 1]), ("2, 0", [2, 0])])
def test_stages_are_a_list_of_numbers(monkeypatch, text, stages):
    monkeypatch.setenv(STAGES, text)
    assert checkpointed_stages_from_environment() == stages


@pytest.mark.parametrize("text", ["", "all", "-1", "0;1", "0,", "1.0"])
def test_anything_but_stages_is_refused(monkeypatch, text):
    monkeypatch.setenv(STAGES, text)
    with pytest.raises(ValueError, match=f"^{STAGES}={text} is not a list of stages: give one such as 0 or 0,1"):
        checkpointed_stages_from_environment()


def test_each_variable_has_its_place(monkeypatch):
    for number, variable in enumerate(VARIABLES, start=1):
        monkeypatch.setenv(variable, str(number))
    assert QuickRun.from_environment() == QuickRun(epochs=1, iterations=2, val_iterations=3)


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize("text", ["0", "-1", "1.5", "two", "", " 3", "²"])
def test_anything_but_a_positive_integer_is_refused(monkeypatch, variable, text):
    monkeypatch.setenv(variable, text)
    with pytest.raises(ValueError, match=f"^{variable}={text} is not a positive integer: .*unset it"):
        QuickRun.from_environment()


@pytest.mark.parametrize("text", ["bf16", "float32", "", "bfloat16 "])
def test_a_dtype_that_autocast_does_not_offer_is_refused(monkeypatch, text):
    monkeypatch.setenv(AUTOCAST, text)
    with pytest.raises(ValueError, match=f"^{AUTOCAST}={text} is neither float16 nor bfloat16: set one or unset it"):
        autocast_dtype(torch.device("cpu"), 2)


def test_a_device_without_autocast_is_refused(monkeypatch):
    monkeypatch.setenv(AUTOCAST, "bfloat16")
    with pytest.raises(ValueError, match=r"^NNUNETV2_MAMBA_AUTOCAST=bfloat16 has no effect on mps: unset it, or use"):
        autocast_dtype(torch.device("mps"), 2)


def test_a_gpu_without_bfloat16_is_refused_by_its_name(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Old GPU")
    monkeypatch.setenv(AUTOCAST, "float16")
    assert autocast_dtype(torch.device("cuda"), 2) is torch.float16
    monkeypatch.setenv(AUTOCAST, "bfloat16")
    with pytest.raises(ValueError, match=r"^Old GPU has no bfloat16: unset NNUNETV2_MAMBA_AUTOCAST=bfloat16\.$"):
        autocast_dtype(torch.device("cuda"), 2)


def test_bfloat16_of_volumes_is_refused_on_the_cpu(monkeypatch):
    """PyTorch 2.15 leaves parts of the gradients of 3-D convolutions unwritten there."""
    monkeypatch.setenv(AUTOCAST, "bfloat16")
    assert autocast_dtype(torch.device("cpu"), 2) is torch.bfloat16
    with pytest.raises(
        ValueError, match=r"^NNUNETV2_MAMBA_AUTOCAST=bfloat16: .*3-D.* are wrong on the CPU: unset it\.$"
    ):
        autocast_dtype(torch.device("cpu"), 3)
    monkeypatch.setenv(AUTOCAST, "float16")
    assert autocast_dtype(torch.device("cpu"), 3) is torch.float16
