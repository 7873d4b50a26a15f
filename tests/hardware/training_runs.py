"""What the tests of training over ROS 2 share: a tiny trainer, and what a run has saved.

What needs torch is imported where it is used: each worker of pytest-xdist loads every file of tests, and torch takes
seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from robot_rl.training.run import Run

TINY = {
    "start_steps": 40, "batch_size": 8, "replay_capacity": 5000, "checkpoint_interval": 50, "log_interval": 50,
    "evaluation_interval": 0, "threads": 1, "compile": "never",
}  # fmt: skip


def weights(run: Run) -> dict[str, np.ndarray]:
    """Every tensor of the newest checkpoint."""
    from robot_rl.training.checkpoint import latest_checkpoint, load_checkpoint

    tensors = load_checkpoint(latest_checkpoint(run.checkpoints)).tensors
    return {name: tensor.numpy() for name, tensor in tensors.items()}


def saved_values(run: Run) -> dict[str, Any]:
    """The numbers of the newest checkpoint."""
    from robot_rl.training.checkpoint import latest_checkpoint, load_values

    return load_values(latest_checkpoint(run.checkpoints))


def wait_until(condition: Callable[[], bool], timeout: float = 150.0) -> None:
    """Returns as soon as the condition holds; fails after `timeout` s."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
