"""Training batches that depend on the seed and their number alone, not on what a network draws at random between."""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and PyTorch's global generators."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


class NumberedBatches:
    """Draws each batch from generators seeded for it, and gives the process its own generators back.

    Networks draw too (drop path), some rows more than others: with shared generators equal seeds would not give equal
    batches.

    Args:
        loader: nnU-Net's single-process loader.
        seed: of the stream; loaders of one training need different ones.
    """

    def __init__(self, loader: Iterator[dict[str, Any]], seed: int) -> None:
        self.loader = loader
        self.seed = seed
        self.drawn = 0
        self.first = self.last = ""

    def __iter__(self) -> "NumberedBatches":
        """Itself."""
        return self

    def __next__(self) -> dict[str, Any]:
        """The next batch."""
        with _generators(int(np.random.SeedSequence((self.seed, self.drawn)).generate_state(1)[0])):
            batch = next(self.loader)
        self.last = digest(batch)
        self.first = self.first or self.last
        self.drawn += 1
        return batch


def digest(batch: dict[str, Any]) -> str:
    """Short hash of the case names and the pixels of a batch."""
    hashed = hashlib.sha256(" ".join(map(str, batch["keys"])).encode())
    hashed.update(np.ascontiguousarray(batch["data"]).tobytes())
    return hashed.hexdigest()[:16]


@contextmanager
def _generators(seed: int) -> Iterator[None]:
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed)
    # Not those of other devices, which only networks draw from.
    torch.random.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
