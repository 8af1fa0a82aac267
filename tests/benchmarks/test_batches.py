"""Equal seeds give equal batches, whatever a network draws in between."""

import random

import numpy as np
import torch

from benchmarks.ablation.batches import NumberedBatches, digest, seed_everything


def random_batches():
    while True:
        pixels = torch.rand(2, 1, 3, 3) + np.random.rand()
        yield {"keys": [str(random.random()), "case"], "data": pixels}


def test_draws_of_a_network_do_not_change_the_batches():
    seed_everything(5)
    quiet = NumberedBatches(random_batches(), 1)
    expected = [digest(next(quiet)) for _ in range(3)]
    seed_everything(6)
    busy = NumberedBatches(random_batches(), 1)
    for index, batch in enumerate(expected):
        torch.rand(index + 1)
        np.random.rand()
        assert digest(next(busy)) == batch
    assert (busy.first, busy.last) == (expected[0], expected[-1])


def test_batches_and_seeds_differ():
    first, second = NumberedBatches(random_batches(), 1), NumberedBatches(random_batches(), 2)
    assert len({digest(next(stream)) for stream in (first, first, second, second)}) == 4


def test_a_batch_leaves_the_generators_of_the_process_as_they_were():
    seed_everything(3)
    expected = random.random(), np.random.rand(), torch.rand(1).item()
    seed_everything(3)
    next(NumberedBatches(random_batches(), 1))
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == expected


def test_a_digest_tells_names_and_pixels_apart():
    pixels = torch.zeros(2, 1, 2, 2)
    same = digest({"keys": ["a", "b"], "data": pixels.clone()})
    assert digest({"keys": ["a", "b"], "data": pixels}) == same
    assert digest({"keys": ["b", "a"], "data": pixels}) != same
    assert digest({"keys": ["a", "b"], "data": pixels + 1}) != same
