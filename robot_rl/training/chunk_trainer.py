"""The training loop of learners with a replay whose steps are rolled out elsewhere, in chunks.

Learning goes on tick by tick as where both take turns: the same updates follow the same transition. What differs is
how old the weights are that acted, and that is measured: `rollout/weights_age` in the metrics, in steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from robot_rl.algorithms.learner import Learner
from robot_rl.training.collector import Source
from robot_rl.training.loop import TrainerSettings
from robot_rl.training.rollout_worker import Chunk, Order, Workplace, acting_weights
from robot_rl.training.run import Run
from robot_rl.training.state import State
from robot_rl.training.trainer import Trainer


class ChunkSource(Source, Protocol):
    """Where chunks come from."""

    @property
    def place(self) -> Workplace:
        """What each worker acts in."""

    def exchange(self, order: Callable[[int], Order], rest: bool) -> Chunk:
        """Takes the next chunk and orders another one.

        Args:
            order: makes the order; told how many steps will come before it that the trainer has not counted yet.
            rest: whether to order nothing where the chunk ends with its episodes, as a checkpoint waits for that.

        Raises:
            WorkerEnded: there is none any more that could roll out.
        """

    def metrics(self) -> dict[str, float]:
        """What it has to say besides."""


class ChunkTrainer(Trainer):
    """Takes chunks apart into ticks, and learns from those."""

    collector: ChunkSource

    def __init__(
        self,
        source: ChunkSource,
        learner: Learner,
        settings: TrainerSettings,
        run: Run | None = None,
        evaluate: Callable[[Learner], dict[str, float]] | None = None,
    ) -> None:
        """See `robot_rl.training.trainer.train`; `source` is where chunks come from."""
        super().__init__(source, learner, settings, run, evaluate)
        self._chunk: Chunk | None = None
        self._ticks_taken = 0
        self._ages: list[int] = []

    def _collect(self) -> None:
        """The transitions of the next tick."""
        if self._chunk is None or self._ticks_taken == len(self._chunk.ends):
            self._chunk = self.collector.exchange(self._order, self._wants_rest())
            self._ticks_taken = 0
        rows, episodes = self._chunk.tick(self._ticks_taken)
        self._ticks_taken += 1
        if len(rows.reward):
            self.learner.normalizer.observe(rows.observation)
            self._ages.append(self.step - self._chunk.version)
        self._keep(rows)
        self._note(episodes)

    def _order(self, ahead: int) -> Order:
        """The next order, by the weights as they are; `ahead` steps will come before it."""
        count, ticks = self.collector.place.count, self.settings.chunk_ticks
        left = math.ceil((self.settings.start_steps - self.step - ahead) / count)  # ticks with random actions
        random = self._random_actions(max(0, min(left, ticks)), count)
        return Order(acting_weights(self.learner), self.step, ticks, random, self._wants_rest())

    def _wants_rest(self) -> bool:
        """Whether a checkpoint waits for the end of an episode."""
        return self.run is not None and not self.collector.has_snapshots and self._intervals_unsaved() >= 1

    def _own_metrics(self) -> dict[str, float]:
        ages, self._ages = self._ages or [0], []
        found = {"rollout/weights_age": float(np.mean(ages)), "rollout/weights_age_max": float(max(ages))}
        return super()._own_metrics() | found | self.collector.metrics()

    def _own_values(self) -> dict[str, Any]:
        return {**super()._own_values(), "ticks_taken": self._ticks_taken, "ages": self._ages}

    def _experience(self) -> dict[str, State]:
        chunk = {} if self._chunk is None else {"chunk": self._chunk.state()}
        return super()._experience() | chunk

    def _load_experience(self, saved: State) -> None:
        super()._load_experience(saved)
        own = saved.part("trainer").values
        self._chunk = Chunk.of_state(saved.part("chunk"))
        self._ticks_taken, self._ages = own["ticks_taken"], own["ages"]
