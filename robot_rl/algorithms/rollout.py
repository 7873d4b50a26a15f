"""Rollouts: what learners keep of the steps that they just made, and how good each action turned out."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from robot_rl.errors import StorageError
from robot_rl.training.state import State


@dataclass(frozen=True)
class Steps:
    """T steps of several environments, in the order in which they were made; float32 unless said."""

    observation: np.ndarray
    """Before the action, raw, (T, O)."""
    pre_tanh: np.ndarray
    """u as drawn, the action is tanh(u), (T, A); it cannot be had from an action that rounds to 1."""
    reward: np.ndarray
    """(T,)."""
    next_observation: np.ndarray
    """After the action, raw; at the end of an episode its last one, (T, O)."""
    terminated: np.ndarray
    """Whether the state after it is terminal, (T,) bool."""
    ended: np.ndarray
    """Whether the next step of this environment belongs to another episode, (T,) bool."""
    environment: np.ndarray
    """Which of the environments, (T,) int64."""

    def __len__(self) -> int:
        """T."""
        return len(self.reward)


class Rollout:
    """Steps since the last update, as they come."""

    def __init__(self, observation_size: int, action_size: int) -> None:
        """Starts empty, for observations of O and actions of A entries."""
        self._empty = Steps(
            np.zeros((0, observation_size), np.float32), np.zeros((0, action_size), np.float32),
            np.zeros(0, np.float32), np.zeros((0, observation_size), np.float32),
            np.zeros(0, bool), np.zeros(0, bool), np.zeros(0, np.int64),
        )  # fmt: skip
        self._blocks: list[Steps] = []
        self._length = 0

    def __len__(self) -> int:
        """Number of steps held."""
        return self._length

    def add(self, steps: Steps) -> None:
        """Adds steps in order, at most one of each environment."""
        self._blocks.append(steps)
        self._length += len(steps)

    def steps(self) -> Steps:
        """All of them."""
        blocks = [self._empty, *self._blocks]
        joined = {
            field.name: np.concatenate([getattr(block, field.name) for block in blocks]).astype(
                getattr(self._empty, field.name).dtype, copy=False
            )
            for field in fields(Steps)
        }
        self._blocks = [Steps(**joined)]
        return self._blocks[0]

    def clear(self) -> None:
        """Forgets all."""
        self._blocks, self._length = [], 0

    def cut(self) -> None:
        """Says that the environments were started afresh: what comes does not continue these steps."""
        steps = self.steps()
        ended = steps.ended.copy()
        for environment in np.unique(steps.environment):
            ended[np.flatnonzero(steps.environment == environment)[-1]] = True
        self._blocks = [replace(steps, ended=ended)]

    def state(self) -> State:
        """All steps, copies."""
        steps = self.steps()
        return State(arrays={field.name: getattr(steps, field.name).copy() for field in fields(Steps)})

    def load_state(self, state: State) -> None:
        """Takes over saved steps.

        Raises:
            StorageError: they are of observations or actions of other sizes.
        """
        for field in fields(Steps):
            empty, saved = getattr(self._empty, field.name), state.arrays.get(field.name)
            if saved is None or saved.shape[1:] != empty.shape[1:]:
                found = "nothing" if saved is None else f"rows of shape {saved.shape[1:]}"
                raise StorageError(f"rollout: for {field.name} {found} was saved, needed {empty.shape[1:]}")
        self.clear()
        self.add(Steps(**{field.name: state.arrays[field.name] for field in fields(Steps)}))


def generalised_advantage(
    steps: Steps, value: np.ndarray, next_value: np.ndarray, discount: float, trace: float
) -> np.ndarray:
    """A(s, a), a mean of the advantages over 1, 2, 3 ... steps with weights that fall by lambda.

    With lambda = 1 it is R - V, where R is the return up to the end of the rollout and the value from there.

    Args:
        steps: T of them; the last of each environment is followed by its value, as at a time limit.
        value: V(s), (T,).
        next_value: V(s'), (T,); not looked at where s' is terminal.
        discount: gamma.
        trace: lambda, in [0, 1].

    Returns:
        (T,), reward units.
    Source: Schulman et al. 2016 (arXiv 1506.02438), eq. 16.
    """
    # delta_t = r_t + gamma (1 - terminated) V(s_{t+1}) - V(s_t)
    delta = steps.reward + discount * np.where(steps.terminated, 0.0, next_value) - value
    weight = discount * trace * ~steps.ended
    # A_t = delta_t + gamma lambda A_{t+1}, until the episode or the rollout ends
    advantage = np.empty(len(steps), dtype=np.float64)
    following = np.zeros(int(steps.environment.max(initial=0)) + 1)  # A_{t+1} of each environment
    for t in range(len(steps) - 1, -1, -1):
        environment = steps.environment[t]
        following[environment] = advantage[t] = delta[t] + weight[t] * following[environment]
    return advantage.astype(np.float32)
