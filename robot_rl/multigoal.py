"""Multigoal: a point on a plane with four goals that are equally good, the test of a policy with several modes.

From the origin every way is as good as three others. A policy that maximises the return alone commits to one of them;
one of maximum entropy takes all four, and near the origin its distribution of actions is a ring.

Source: Haarnoja et al. 2017 (arXiv 1702.08165), section 5.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium
import numpy as np
from numpy.typing import NDArray

from robot_rl.errors import InvalidInput

Array = NDArray[np.floating]


@dataclass(frozen=True)
class MultigoalCosts:
    """What the reward is made of: -action |a|^2 - distance min_g |s' - g|^2, and `goal` once at the end."""

    action: float = 30.0
    """Per squared unit of action."""
    distance: float = 1.0
    """Per squared unit of distance to the nearest goal, after the step."""
    goal: float = 10.0
    """For reaching one."""


PAPER = MultigoalCosts()
"""Of the paper's experiment."""
CHEAP = MultigoalCosts(action=1.0, distance=0.1, goal=1.0)
"""The other set in use: moving costs little, so the way to a goal is a run at full speed."""


class Multigoal(gymnasium.Env[Array, Array]):
    """s' = s + a, kept within +-7; four goals at distance 5 from the origin, on the axes.

    An episode ends within 1 of a goal, and is cut after 30 steps. It starts near the origin, each coordinate from
    N(0, 0.1^2), or at `options={"position": (x, y)}`.
    """

    goals: ClassVar[Array] = np.array([[5.0, 0.0], [-5.0, 0.0], [0.0, 5.0], [0.0, -5.0]])
    bound: ClassVar[float] = 7.0
    radius: ClassVar[float] = 1.0
    time_limit: ClassVar[int] = 30
    start_std: ClassVar[float] = 0.1

    def __init__(self, costs: MultigoalCosts = PAPER) -> None:
        """Args: costs: of actions and distances."""
        self.costs = costs
        self.observation_space = gymnasium.spaces.Box(-self.bound, self.bound, (2,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.position: Array = np.zeros(2)
        self._steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Starts near the origin, or at `options["position"]`, (2,)."""
        super().reset(seed=seed)
        self._steps = 0
        self.position = self.np_random.normal(0.0, self.start_std, 2)
        if options and "position" in options:
            self.position = np.array(options["position"], dtype=np.float64)
            if self.position.shape != (2,) or not np.all(np.abs(self.position) <= self.bound):
                raise InvalidInput(f"position: expected 2 numbers within +-{self.bound:g}, got {options['position']}")
        return self.position.astype(np.float32), {}

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """One move; the action is clipped to [-1, 1]."""
        self.position, terms, reached = self.outcome(self.position, np.clip(action, -1.0, 1.0))
        self._steps += 1
        named = {name: float(value) for name, value in terms.items()}
        truncated = self._steps >= self.time_limit
        return self.position.astype(np.float32), sum(named.values()), bool(reached), truncated, {"reward_terms": named}

    def outcome(self, position: Array, action: Array) -> tuple[Array, dict[str, Array], NDArray[np.bool_]]:
        """What an action leads to, for any leading shape.

        Args:
            position: s, (..., 2).
            action: a in [-1, 1], (..., 2).

        Returns:
            s' (..., 2), the terms of the reward (...) each, and whether a goal is reached (...).
        """
        after = np.clip(position + action, -self.bound, self.bound)
        squared = self.squared_distances(after).min(axis=-1)
        reached = squared <= self.radius**2
        # r = -c_a |a|^2 - c_d min_g |s' - g|^2 + bonus at a goal
        terms = {
            "action": -self.costs.action * np.square(action).sum(axis=-1),
            "distance": -self.costs.distance * squared,
            "goal": self.costs.goal * reached,
        }
        return after, terms, reached

    def squared_distances(self, position: Array) -> Array:
        """|s - g|^2 of every goal, (..., 4)."""
        return np.square(position[..., None, :] - self.goals).sum(axis=-1)
