"""Finite problems as Gymnasium environments, to compare what networks learn with what is exact."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from robot_rl.algorithms.tabular.mdp import FiniteMDP

Array = NDArray[np.floating]


class FiniteEnv(gymnasium.Env[Array, Array]):
    """A `FiniteMDP` whose observation is one number per state, 1 for the one it is in, and 0 for the rest.

    An action is one number per action; the greatest is meant. An episode starts in any state alike, ends with the
    probability that the problem gives, and is cut after `time_limit` steps.
    """

    def __init__(self, mdp: FiniteMDP, time_limit: int = 20) -> None:
        """Args: mdp: the problem; time_limit: steps of an episode at most."""
        self.mdp = mdp
        self.time_limit = time_limit
        self.observation_space = gymnasium.spaces.Box(0.0, 1.0, (mdp.states,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (mdp.actions,), np.float32)
        self._state = 0
        self._steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Starts in a random state."""
        super().reset(seed=seed)
        self._state, self._steps = int(self.np_random.integers(self.mdp.states)), 0
        return self._seen(), {}

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """One step; the state after a terminal one is shown as the state before it, and is worth nothing."""
        chosen = int(np.argmax(action))
        reward = float(self.mdp.reward[self._state, chosen])
        following = np.append(self.mdp.transition[self._state, chosen], 0.0)
        following[-1] = max(0.0, 1.0 - following.sum())  # the end
        after = int(self.np_random.choice(len(following), p=following / following.sum()))
        terminated = after == self.mdp.states
        if not terminated:
            self._state = after
        self._steps += 1
        return self._seen(), reward, terminated, self._steps >= self.time_limit, {}

    def _seen(self) -> Array:
        return np.eye(self.mdp.states, dtype=np.float32)[self._state]


def corridor(length: int = 5, discount: float = 0.9) -> FiniteMDP:
    """A small treasure at one end of a corridor, a larger one at the other; every step costs a little.

    Actions: left, right, stay. From state 0 left, and from the last one right, ends the episode with its treasure.

    Args:
        length: number of states, at least 2.
        discount: gamma.
    """
    reward = np.full((length, 3), -0.1)
    transition = np.zeros((length, 3, length))
    for state in range(length):
        transition[state, 0, max(state - 1, 0)] = transition[state, 1, min(state + 1, length - 1)] = 1.0
        transition[state, 2, state] = 1.0
    transition[0, 0, 0] = transition[-1, 1, -1] = 0.0
    reward[0, 0], reward[-1, 1] = 0.5, 1.0
    return FiniteMDP(reward, transition, discount)
