"""Finite Markov decision processes: S states, A actions in each, episodes that may end."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from robot_rl.arrays import Array, kept
from robot_rl.errors import InvalidInput

PROBABILITY_TOLERANCE = 1e-9
"""How far a sum of probabilities may be from one."""


@dataclass(frozen=True, eq=False)
class FiniteMDP:
    """A problem with finitely many states and actions, all numbers known.

    Where a row of `transition` sums to less than one, the rest is the probability that this step is the last. What
    would come after the end counts nothing: no reward, and no entropy either.

    Raises:
        InvalidInput: shapes do not match, a number is not finite, probabilities are negative or sum to more than one,
            the discount is outside [0, 1], or it is 1 and from some state no policy ever comes to an end.
    """

    reward: Array
    """r(s, a), mean reward of the step, (S, A)."""
    transition: Array
    """P(s' | s, a), (S, A, S); rows sum to at most one, the rest ends the episode."""
    discount: float
    """gamma, weight of the next step's value, in [0, 1]."""

    def __post_init__(self) -> None:
        """Checks and freezes the arrays."""
        object.__setattr__(self, "reward", kept(np.asarray(self.reward, dtype=np.float64)))
        object.__setattr__(self, "transition", kept(np.asarray(self.transition, dtype=np.float64)))
        reward, transition = self.reward, self.transition
        if reward.ndim != 2 or 0 in reward.shape or transition.shape != (*reward.shape, len(reward)):
            raise InvalidInput(
                f"finite MDP: reward must be (S, A) and transition (S, A, S), got {reward.shape} and {transition.shape}"
            )
        if not np.isfinite(reward).all():
            raise InvalidInput("finite MDP: a reward is not finite")
        # `not (all ...)` also catches NaN.
        if not (transition >= 0).all() or not (transition.sum(axis=2) <= 1 + PROBABILITY_TOLERANCE).all():
            raise InvalidInput("finite MDP: transition probabilities must be >= 0 and sum to at most 1 over s'")
        if not 0 <= self.discount <= 1:
            raise InvalidInput(f"finite MDP: discount must be in [0, 1], got {self.discount}")
        if self.discount == 1:
            require_an_end(transition.mean(axis=1), "any policy")

    @classmethod
    def random(
        cls,
        rng: np.random.Generator,
        states: int,
        actions: int,
        discount: float,
        successors: int | None = None,
        ending: float = 0.0,
    ) -> FiniteMDP:
        """Draws a problem: rewards from N(0, 1), probabilities uniform on the simplex of the possible successors.

        Args:
            rng: where the numbers come from.
            states: S.
            actions: A.
            discount: gamma.
            successors: how many states can follow (s, a); 1 makes the dynamics deterministic, None means all.
            ending: probability that any one step is the last.
        """
        successors = states if successors is None else successors
        transition = np.zeros((states, actions, states))
        for s, a in np.ndindex(states, actions):
            following = rng.choice(states, successors, replace=False)
            transition[s, a, following] = (1 - ending) * rng.dirichlet(np.ones(successors))
        return cls(rng.standard_normal((states, actions)), transition, discount)

    @property
    def states(self) -> int:
        """S."""
        return self.reward.shape[0]

    @property
    def actions(self) -> int:
        """A."""
        return self.reward.shape[1]

    @property
    def horizon(self) -> float:
        """Steps that count: 1 / (1 - gamma); for gamma = 1 the longest mean episode when acting uniformly at random."""
        if self.discount < 1:
            return 1 / (1 - self.discount)
        step = self.transition.mean(axis=1)
        return float(np.linalg.solve(np.eye(self.states) - step, np.ones(self.states)).max())

    def with_reward(self, reward: ArrayLike) -> FiniteMDP:
        """Another task in the same world; reward (S, A)."""
        return replace(self, reward=np.asarray(reward, dtype=np.float64))

    def discounted_next(self, value: Array) -> Array:
        """gamma E_{s'}[value(s')], (S, A), for value (S,); the end counts as zero."""
        return self.discount * (self.transition @ value)


def require_an_end(step: Array, policy: str) -> None:
    """Refuses dynamics under which an undiscounted episode may go on for ever.

    Args:
        step: P(s' | s), (S, S), rows sum to at most one, the rest ends the episode.
        policy: under what, for the message.

    Raises:
        InvalidInput: from some state the end cannot be reached.
    """
    ends = step.sum(axis=1) < 1 - PROBABILITY_TOLERANCE  # (S,)
    for _ in range(len(step)):
        ends = ends | ((step > 0) @ ends)
    if not ends.all():
        raise InvalidInput(
            f"finite MDP: with discount 1 every episode has to end, but from state {int(np.argmin(ends))} it never "
            f"does under {policy}; end it somewhere, or take a discount below 1"
        )


def positive_temperature(alpha: float) -> float:
    """Returns alpha.

    Raises:
        InvalidInput: it is not a positive number.
    """
    if not (alpha > 0 and math.isfinite(alpha)):
        raise InvalidInput(f"temperature alpha must be positive, got {alpha}; without entropy use the hard functions")
    return alpha
