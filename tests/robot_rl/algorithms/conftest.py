"""Batches for learners, which here use one thread.

Networks this small are slower on several threads, and far slower when other processes want the cores too.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from robot_rl.algorithms.compiled import obstacle
from robot_rl.algorithms.learner import Batch


@pytest.fixture
def random_batch() -> Callable[..., Batch]:
    """Makes a batch of transitions that mean nothing: `random_batch(size=9, seed=3)`."""

    def make(size: int = 32, observations: int = 4, actions: int = 2, seed: int = 0) -> Batch:
        rng = np.random.default_rng(seed)
        return Batch(
            observation=rng.standard_normal((size, observations)).astype(np.float32),
            action=rng.uniform(-1, 1, (size, actions)).astype(np.float32),
            reward=rng.standard_normal(size).astype(np.float32),
            next_observation=rng.standard_normal((size, observations)).astype(np.float32),
            terminated=(rng.random(size) < 0.2).astype(np.float32),
        )

    return make


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def compiler() -> None:
    """Skips a test where updates cannot be compiled; asked only here, since the answer loads torch's compiler."""
    reason = obstacle()
    if reason is not None:
        pytest.skip(reason)
