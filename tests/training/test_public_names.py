"""What trainers of other people are made of is imported from one place, and only when it is used."""

import subprocess
import sys

import pytest

from nnunetv2_mamba import training


@pytest.mark.parametrize("name", training.__all__)
def test_every_public_name_is_there(name):
    assert getattr(training, name).__name__ == name


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute Nothing"):
        _ = training.Nothing


def test_the_package_itself_loads_neither_torch_nor_nnunet():
    code = "import sys, nnunetv2_mamba.training; assert not sys.modules.keys() & {'torch', 'nnunetv2'}"
    subprocess.run([sys.executable, "-c", code], check=True)
