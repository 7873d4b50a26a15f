"""A small environment, and what can go wrong in one, for processes that have to import it."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import gymnasium
import numpy as np
import torch

from robot_rl.algorithms.sac import SAC, SACSettings
from robot_rl.training.checkpoint import latest_checkpoint, load_checkpoint
from robot_rl.training.normalizer import Normalizer
from robot_rl.training.run import Run


class Slope(gymnasium.Env):
    """A point that is pushed along a line; it can be saved in the middle of an episode of 17 steps."""

    def __init__(self) -> None:
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.x, self.tick, self.steps = 0.0, 0, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.tick = float(self.np_random.uniform(-1, 1)), 0
        return self._seen(), {}

    def _seen(self) -> np.ndarray:
        return np.array([self.x, self.tick / 17], np.float32)

    def step(self, action):
        self.steps += 1
        self.x += 0.3 * float(action[0]) + 0.05 * self.np_random.standard_normal()
        self.tick += 1
        return self._seen(), -(self.x**2), abs(self.x) > 3, self.tick >= 17, {}

    def snapshot(self):
        return {"x": self.x, "tick": self.tick, "rng": self.np_random.bit_generator.state}

    def restore(self, snapshot):
        self.x, self.tick = snapshot["x"], snapshot["tick"]
        self.np_random.bit_generator.state = snapshot["rng"]


class Unsaved(Slope):
    """It cannot be saved in the middle of an episode."""

    snapshot = None  # type: ignore[assignment]


class Endless(Unsaved):
    """Its episodes have no end."""

    def step(self, action):
        return (*super().step(0.0 * action)[:2], False, False, {})


class Mortal(Slope):
    """Its process dies at the 40th step."""

    def step(self, action):
        if self.steps == 39:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().step(action)


class Impatient(Slope):
    """Sends Ctrl-C to the program at its 33rd step."""

    def step(self, action):
        parent = multiprocessing.parent_process()
        if self.steps == 32 and parent is not None:
            os.kill(parent.pid, signal.SIGINT)
        return super().step(action)


class Hesitant(Slope):
    """Takes its time, each step another one."""

    def step(self, action):
        time.sleep(0.004 * (self.steps % 5 == 0))
        return super().step(action)


class NotANumber(Slope):
    """Goes wrong at the 30th step."""

    def step(self, action):
        observation, reward, *rest = super().step(action)
        return (observation, np.nan if self.steps == 30 else reward, *rest)


class UnsavedNotANumber(NotANumber, Unsaved):
    """Both."""


def slope_learner() -> SAC:
    return SAC(2, 1, SACSettings(hidden_sizes=(8,)), seed=4, normalizer=Normalizer.running_statistics(2))


class Counting(SAC):
    """Its action says by how many updates its weights are old: count / 1024, exactly."""

    def update(self, batch, metrics=False):
        with torch.no_grad():
            self.actor.head.bias[0] += 1
        return {}

    def act(self, observation, deterministic=False):
        count = float(self.actor.head.bias.detach()[0])
        return np.full((len(observation), 1), count / 1024, dtype=np.float32)


def counting() -> Counting:
    learner = Counting(2, 1, SACSettings(hidden_sizes=(4,)))
    with torch.no_grad():
        learner.actor.head.bias.zero_()
    return learner


def pair() -> gymnasium.vector.SyncVectorEnv:
    return gymnasium.vector.SyncVectorEnv([Slope] * 2, autoreset_mode=gymnasium.vector.AutoresetMode.SAME_STEP)


def four_endless() -> gymnasium.vector.SyncVectorEnv:
    return gymnasium.vector.SyncVectorEnv([Endless] * 4)


def last_state(run: Run) -> dict[str, np.ndarray]:
    """Every array of the newest checkpoint, by name."""
    place = latest_checkpoint(run.checkpoints)
    assert place is not None
    saved = load_checkpoint(place)
    return {**{name: tensor.numpy() for name, tensor in saved.tensors.items()}, **saved.arrays}


def assert_same_state(found: Run, expected: Run) -> None:
    """The newest checkpoints of two runs agree in every bit."""
    one, other = last_state(found), last_state(expected)
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)


def descendants(process: int | None = None) -> set[int]:
    """Processes that a process, or this one, started, and those that they did."""
    process = process or os.getpid()
    children = {int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()}
    return children.union(*(descendants(child) for child in children))
