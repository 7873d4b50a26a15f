"""What learners from a replay share: an update that is a function of tensors, and so can run compiled."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from robot_rl.algorithms.compiled import Update, compile_update
from robot_rl.algorithms.learner import Batch
from robot_rl.algorithms.network_learner import NetworkLearner, own_tensor
from robot_rl.training.normalizer import Normalizer
from robot_rl.training.state import State


class Tensors(NamedTuple):
    """A batch of transitions as an update takes it."""

    observation: Tensor
    """Normalised, (B, O)."""
    action: Tensor
    """(B, A)."""
    reward: Tensor
    """(B,)."""
    next_observation: Tensor
    """Normalised, (B, O)."""
    terminated: Tensor
    """(B,)."""


class ReplayLearner(NetworkLearner):
    """Base of the learners from a replay; a subclass adds networks, `actor`, `act`, `_draw` and `_step`."""

    def __init__(self, observation_size: int, action_size: int, seed: int, normalizer: Normalizer | None) -> None:
        """See `NetworkLearner`."""
        super().__init__(observation_size, action_size, seed, normalizer)
        # Not Adam's own count: that is a float32, which stands still at 2^24.
        self._updates = torch.zeros((), dtype=torch.int64)
        self._compiled: dict[bool, Update] = {}
        self._compiled_for = 0

    def _tensors(self, batch: Batch) -> Tensors:
        observation, next_observation = self._prepared(batch.observation), self._prepared(batch.next_observation)
        action, reward, terminated = map(own_tensor, (batch.action, batch.reward, batch.terminated))
        return Tensors(observation, action, reward, next_observation, terminated)

    def _prepared(self, observation: np.ndarray) -> Tensor:
        """Observations of a batch as an update takes them, (B, O)."""
        return self._normalized(observation)

    def _draw(self, size: int) -> Any:
        """What an update from `size` transitions leaves to chance: tensors, or None."""
        return None

    @abstractmethod
    def _step(self, batch: Tensors, draws: Any, moves_actor: bool, metrics: bool) -> dict[str, Tensor]:
        """The update as a function of tensors, which changes networks and optimisers in place.

        Args:
            batch: of transitions.
            draws: what `_draw` gave for them.
            moves_actor: whether the actor moves too.
            metrics: whether to return them.
        """

    @property
    def actor_delay(self) -> int:
        """Updates of the critics for one of the actor."""
        return 1

    def update(self, batch: Batch, metrics: bool = False) -> dict[str, float]:
        """One step of Adam on every part that is due; see `Learner.update`."""
        moves_actor = (int(self._updates) + 1) % self.actor_delay == 0
        inputs = (self._tensors(batch), self._draw(len(batch.reward)))
        if self._compiled and len(batch.reward) == self._compiled_for:
            found = self._compiled[moves_actor](*inputs, moves_actor, True)
        else:
            found = self._step(*inputs, moves_actor, metrics)
        self._updates += 1
        return {name: value.item() for name, value in found.items()} if metrics else {}

    def compile(self, batch_size: int) -> None:
        """From now on computes updates from `batch_size` transitions as one compiled graph; changes nothing else.

        Raises:
            CannotCompile: with the reason; updates go on as before.
        """
        before = self.state()
        compiled = {}
        try:
            for moves_actor in (True,) if self.actor_delay == 1 else (True, False):
                inputs = (self._tensors(self._blank(batch_size)), self._draw(batch_size))
                compiled[moves_actor] = compile_update(self._step, [*inputs, moves_actor, True])
            self._compiled, self._compiled_for = compiled, batch_size
        finally:
            self.load_state(before)

    def _named_tensors(self) -> dict[str, Tensor]:
        return {"updates": self._updates, **super()._named_tensors()}

    def load_state(self, state: State) -> None:
        """See `Learner.load_state`."""
        own = state.part(self.name).tensors
        # Before this count was kept, that of Adam stood for it.
        if "updates" not in own and "adam/critics/step" in own:
            state.tensors[f"{self.name}/updates"] = own["adam/critics/step"].to(torch.int64)
        super().load_state(state)

    def _blank(self, batch_size: int) -> Batch:
        rows, actions = (batch_size, self.observation_size), (batch_size, self.action_size)
        shapes = (rows, actions, (batch_size,), rows, (batch_size,))
        return Batch(*(np.zeros(shape, np.float32) for shape in shapes))
