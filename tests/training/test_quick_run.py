"""The variables that shorten a training."""

import pytest

from nnunetv2_mamba.training.quick_run import QuickRun

VARIABLES = ("NNUNETV2_MAMBA_EPOCHS", "NNUNETV2_MAMBA_ITERATIONS", "NNUNETV2_MAMBA_VAL_ITERATIONS")


@pytest.fixture(autouse=True)
def _unset(monkeypatch):
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


def test_nothing_set_changes_nothing():
    assert QuickRun.from_environment() == QuickRun(None, None, None)


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
