"""Shared by the op tests: drawn inputs, comparison with a reference, and memory that is never silently zero."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor


@pytest.fixture(autouse=True)
def _poisoned_memory() -> Iterator[None]:
    """Fill uninitialised tensors with NaN, so that an element nobody wrote cannot pass for a zero."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def assert_close() -> Callable[[str, Tensor, Tensor, float], None]:
    """Compare by the root mean square of the error relative to that of the expected tensor."""

    def check(name: str, expected: Tensor, found: Tensor, ratio: float) -> None:
        assert expected.shape == found.shape, name
        error = (expected.double() - found.double()).pow(2).mean().sqrt()
        size = expected.double().pow(2).mean().sqrt()
        assert error <= ratio * size + 1e-30, f"{name}: relative error {error / size:.2e}, allowed {ratio:.0e}"

    return check


@pytest.fixture
def draw() -> Callable[..., Tensor]:
    """Standard normal numbers, the same in every run."""
    generator = torch.Generator().manual_seed(42)

    def normal(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(shape, generator=generator).to(dtype)

    return normal
