"""Tasks in one world that differ only in what the ends of an episode are worth.

- `disjunction`: OR of soft values, exact when dynamics are deterministic and nothing is discounted
- `goal_values`: one hard value per goal; OR, AND and NOT of tasks are their maximum, minimum and complement

Sources: van Niekerk et al. 2019 (arXiv 1807.04439) for OR, Nangue Tasse et al. 2020 (arXiv 2001.01394) for the
Boolean algebra.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from robot_rl.algorithms.tabular.composition import skill_weights
from robot_rl.algorithms.tabular.mdp import PROBABILITY_TOLERANCE, FiniteMDP
from robot_rl.algorithms.tabular.values import hard_value_iteration, soft_value
from robot_rl.arrays import Array, kept
from robot_rl.errors import InvalidInput


@dataclass(frozen=True, eq=False)
class GoalWorld:
    """States, steps and ends that several tasks share.

    Raises:
        InvalidInput: shapes do not match, or the probabilities of going on and of ending do not sum to one.
    """

    step_reward: Array
    """r(s, a), the same in all tasks, (S, A)."""
    transition: Array
    """P(s' | s, a) of going on, (S, A, S)."""
    ending: Array
    """P(g | s, a) of ending in goal g, (S, A, G)."""
    discount: float
    """gamma, in [0, 1]. What an end is worth comes with the last step and is not discounted further."""

    def __post_init__(self) -> None:
        """Checks what `FiniteMDP` cannot, and freezes the arrays."""
        for name in ("step_reward", "transition", "ending"):
            object.__setattr__(self, name, kept(np.asarray(getattr(self, name), dtype=np.float64)))
        transition, ending = self.transition, self.ending
        if transition.ndim != 3 or ending.ndim != 3 or ending.shape[:2] != transition.shape[:2]:
            raise InvalidInput(
                f"goal world: transition must be (S, A, S) and ending (S, A, G), got {transition.shape} "
                f"and {ending.shape}"
            )
        total = transition.sum(axis=2) + ending.sum(axis=2)  # (S, A)
        if not (ending >= 0).all() or not (np.abs(total - 1) <= PROBABILITY_TOLERANCE).all():
            raise InvalidInput(
                "goal world: probabilities of going on and of ending must be >= 0 and together sum to 1 in every (s, a)"
            )

    def task(self, goal_reward: ArrayLike) -> FiniteMDP:
        """The task in which goal g is worth goal_reward[g], (G,), reward units.

        Raises:
            InvalidInput: there are not G numbers, or see `FiniteMDP`.
        """
        worth = np.asarray(goal_reward, dtype=np.float64)
        goals = self.ending.shape[2]
        if worth.shape != (goals,):
            raise InvalidInput(f"goal world: {goals} goals need as many rewards, got shape {worth.shape}")
        return FiniteMDP(self.step_reward + self.ending @ worth, self.transition, self.discount)


def disjunction(q: Array, alpha: float, weights: ArrayLike | None = None) -> Array:
    """OR: Q = alpha log sum_i w_i exp(Q_i / alpha).

    Exactly the optimal soft Q of the task with goal rewards alpha log sum_i w_i exp(g_i / alpha) if dynamics are
    deterministic, gamma = 1, and the tasks differ only in the goal rewards g_i. If one of the three fails it is not.

    Args:
        q: optimal soft Q_i, (N, S, A), or goal rewards, (N, G); any (N, ...), reward units.
        alpha: temperature, > 0, reward units per nat.
        weights: w, (N,), sum 1; None weighs all alike. A skill of weight 0 is left out.

    Returns:
        (S, A), or q's shape without its first axis.

    Raises:
        InvalidInput: alpha is not positive, or see `skill_weights`.
    Source: van Niekerk et al. 2019.
    """
    w = skill_weights(weights, len(q))
    used = w > 0
    # w_i exp(Q_i / alpha) = exp((Q_i + alpha log w_i) / alpha)
    return soft_value(np.moveaxis(q[used], 0, -1) + alpha * np.log(w[used]), alpha)


def goal_values(world: GoalWorld, goal_reward: ArrayLike, penalty: float) -> Array:
    """Hard optimal Q towards each goal by itself: ending anywhere else costs `penalty`.

    For tasks whose goals are each worth either `low` or `high`, the goal values of "A or B" are the maximum of those
    of A and B, those of "A and B" the minimum, and `complement` gives "not A". The maximum over the goals is the
    ordinary optimal Q of the task where dynamics are deterministic; where they are not it can be less.

    Args:
        world: states, steps and ends.
        goal_reward: worth of each goal, (G,), reward units.
        penalty: worth of every other goal than the one aimed at; lower than what any path can earn.

    Returns:
        (G, S, A), reward units.

    Raises:
        InvalidInput: see `GoalWorld.task`, `hard_value_iteration`.
    Source: Nangue Tasse et al. 2020.
    """
    worth = np.asarray(goal_reward, dtype=np.float64)
    alone = np.where(np.eye(len(worth), dtype=bool), worth, penalty)  # (G, G), row g is worth of ends when aiming at g
    return np.stack([hard_value_iteration(world.task(row)) for row in alone])


def complement(values: Array, every_goal: Array, no_goal: Array) -> Array:
    """NOT of goal values (G, S, A): those of the task with every goal, plus those with none, minus these."""
    return every_goal + no_goal - values
