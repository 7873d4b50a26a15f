"""What every learner offers to the trainer, to the exporter and to a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from torch import nn

from robot_rl.training.normalizer import Normalizer
from robot_rl.training.state import State


@dataclass(frozen=True)
class Batch:
    """Transitions drawn from replay, float32, one row each.

    There is no `truncated`: a time limit is not a property of the state, so it never enters a target.
    """

    observation: np.ndarray
    """Observation before the action, raw (not normalised), (B, O)."""
    action: np.ndarray
    """Requested action in [-1, 1], (B, A)."""
    reward: np.ndarray
    """Reward of the step, (B,)."""
    next_observation: np.ndarray
    """Observation after the action, raw; at the end of an episode the last one, not the next start, (B, O)."""
    terminated: np.ndarray
    """1 where the episode ended in a terminal state, otherwise 0, (B,)."""


@runtime_checkable
class Learner(Protocol):
    """An algorithm with its networks. Made from (observation_size, action_size, settings, seed, normalizer)."""

    observation_size: int
    action_size: int
    normalizer: Normalizer

    @property
    def actor(self) -> nn.Module:
        """What draws the action: `networks.Actor`, a Gaussian under the tanh, one of `actors`, or an `EnergyPolicy`."""
        ...

    @property
    def policy(self) -> nn.Module:
        """What acts where nothing is explored, and what leaves training: the actor, or an average of it."""
        ...

    def act(self, observation: np.ndarray, deterministic: bool = False) -> np.ndarray:
        """The action for raw observations.

        Args:
            observation: (O,) or (N, O), raw.
            deterministic: the mode instead of a sample; draws no random number.

        Returns:
            float32 in [-1, 1], (A,) or (N, A).

        Raises:
            InvalidInput: the observation has another size.
        """
        ...

    def update(self, experience: Any, /, metrics: bool = False) -> dict[str, float]:
        """Learns; returns named metrics if asked (costs a little), otherwise {}.

        Args:
            experience: a `Batch` from replay for one gradient step on every part; for learners of `on_policy` the
                `Steps` of a rollout, from which they learn all there is to learn at once.
            metrics: whether to return them.
        """
        ...

    def state(self) -> State:
        """Everything that later actions and updates depend on, random state included; copies."""
        ...

    def load_state(self, state: State) -> None:
        """Continues from a saved state.

        Raises:
            StorageError: the state was made with other sizes or settings.
        """
        ...

    def begin_with(self, state: State) -> None:
        """Takes over what another run has learnt, and goes on drawing its own random numbers; raises likewise."""
        ...


@runtime_checkable
class Compilable(Protocol):
    """A learner whose update can run as one compiled graph."""

    def compile(self, batch_size: int) -> None:
        """From now on computes updates from `batch_size` transitions as one compiled graph; changes nothing else.

        Raises:
            CannotCompile: with the reason; updates go on as before.
        """
        ...
