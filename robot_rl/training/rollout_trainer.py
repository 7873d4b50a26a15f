"""The training loop of learners that learn from what they just did, and then forget it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from robot_rl.algorithms.learner import Learner
from robot_rl.algorithms.on_policy import OnPolicy
from robot_rl.algorithms.rollout import Rollout, Steps
from robot_rl.errors import ConfigurationError
from robot_rl.training.collector import Collector, Environment, Source, Transitions
from robot_rl.training.loop import TrainerSettings, TrainingLoop
from robot_rl.training.metrics import MetricsLog, as_json, from_json, mean_metrics
from robot_rl.training.run import Run
from robot_rl.training.state import State


class RolloutTrainer(TrainingLoop):
    """Collects as many steps as the learner asks for, over all environments, then lets it learn from them."""

    collector: Collector
    learner: OnPolicy

    def __init__(
        self,
        env: Environment | Source,
        learner: Learner,
        settings: TrainerSettings,
        run: Run | None = None,
        evaluate: Callable[[Learner], dict[str, float]] | None = None,
    ) -> None:
        """See `robot_rl.training.trainer.train`.

        Raises:
            ConfigurationError: the transitions come from another process, which may act by older weights.
        """
        super().__init__(env, learner, settings, run, evaluate)
        if not isinstance(self.collector, Collector):
            raise ConfigurationError(f"{type(learner).__name__} learns from its own steps, not from another process's")
        self.rollout = Rollout(learner.observation_size, learner.action_size)
        self._learnt: list[dict[str, float]] = []

    def _collect(self) -> None:
        rows, steps = collect(self.collector, self.learner)
        self.rollout.add(steps)
        self.step += len(rows.reward)
        self._note(self.collector.take_finished())

    def _update(self, metrics: bool) -> dict[str, float]:
        if len(self.rollout) >= self.learner.rollout_steps:
            self._learnt.append(self.learner.update(self.rollout.steps(), metrics=True))
            self.rollout.clear()
            self.updates += 1
        if not metrics:
            return {}
        found, self._learnt = mean_metrics(self._learnt), []
        return found

    def _experience(self) -> dict[str, State]:
        return {"rollout": self.rollout.state()}

    def _own_values(self) -> dict[str, Any]:
        return {"learnt": [as_json(metrics) for metrics in self._learnt]}

    def _load_experience(self, saved: State) -> None:
        self.rollout.load_state(saved.part("rollout"))
        self._learnt = [from_json(metrics) for metrics in saved.part("trainer").values["learnt"]]
        if not self.collector.has_snapshots:
            self.rollout.cut()

    def _save(self, log: MetricsLog) -> None:
        super()._save(log)
        if not self.collector.has_snapshots:
            self.rollout.cut()


def collect(collector: Collector, learner: OnPolicy) -> tuple[Transitions, Steps]:
    """One step of every environment by the learner's policy; as transitions and as a learner keeps them."""
    pre_tanh = learner.draw(collector.observation)  # (N, A)
    rows = collector.step(np.tanh(pre_tanh))
    steps = Steps(
        rows.observation, pre_tanh[rows.environment], rows.reward.astype(np.float32), rows.next_observation,
        rows.terminated, rows.ended, rows.environment,
    )  # fmt: skip
    return rows, steps
