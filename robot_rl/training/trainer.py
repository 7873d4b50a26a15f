"""Trains any learner in any Gymnasium environment or vector of them; here those that learn from a replay."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from robot_rl.algorithms.compiled import CannotCompile, has_bfloat16
from robot_rl.algorithms.learner import Batch, Compilable, Learner
from robot_rl.algorithms.on_policy import OnPolicy
from robot_rl.errors import ConfigurationError, StorageError
from robot_rl.training.checkpoint import checkpoints, load_values
from robot_rl.training.collector import Collector, Environment, Source, Transitions
from robot_rl.training.loop import TrainerSettings, TrainingLoop, TrainingResult
from robot_rl.training.metrics import MetricsLog
from robot_rl.training.offline import keep, kept_replay, mixed, offline_replay
from robot_rl.training.replay import Replay
from robot_rl.training.rollout_trainer import RolloutTrainer
from robot_rl.training.run import Run
from robot_rl.training.state import State

__all__ = ["Trainer", "TrainerSettings", "TrainingResult", "train"]

COMPILE_FROM = 10_000
"""Updates of a run from which on `compile: auto` compiles: about when it has saved what it costs."""


def train(
    env: Environment,
    learner: Learner,
    settings: TrainerSettings,
    run: Run | None = None,
    evaluate: Callable[[Learner], dict[str, float]] | None = None,
) -> TrainingResult:
    """Trains a learner; continues from the run's newest checkpoint if it has one.

    Args:
        env: a Gymnasium environment or vector environment, with vectors as observations and bounded actions.
        learner: made for the sizes of `env`.
        settings: of the loop.
        run: where to keep checkpoints and metrics; None keeps nothing.
        evaluate: called every `evaluation_interval` steps and at the end; its metrics are logged under `evaluation/`.
            It must leave the learner and the training environment as they are.

    Returns:
        How it ended.

    Raises:
        ConfigurationError: the spaces do not suit, the learner or the offline data has other sizes, or a pipeline is
            asked for.
        InvalidInput: the environment or the learner gave a number that is not finite.
        StorageError: a save failed (the checkpoint before it can be resumed), or a checkpoint is damaged.
        RobotFault: the robot stopped or left; on hardware after a checkpoint.
    """
    if settings.pipeline:
        raise ConfigurationError(
            "trainer: pipeline is true, and the other process has to make the environment itself; call "
            "robot_rl.training.pipeline.train_in_pipeline with what makes it"
        )
    if settings.offline is not None and isinstance(learner, OnPolicy):
        raise ConfigurationError(f"trainer.offline: {type(learner).__name__} learns from its own steps alone")
    kind: type[TrainingLoop] = RolloutTrainer if isinstance(learner, OnPolicy) else Trainer
    return kind(env, learner, settings, run, evaluate).train()


class Trainer(TrainingLoop):
    """The loop of learners that learn from a replay; see `train`."""

    def __init__(
        self,
        env: Environment | Source,
        learner: Learner,
        settings: TrainerSettings,
        run: Run | None = None,
        evaluate: Callable[[Learner], dict[str, float]] | None = None,
    ) -> None:
        """See `train`; `env` may also be where the transitions of another process arrive."""
        super().__init__(env, learner, settings, run, evaluate)
        replay_seed, action_seed = np.random.SeedSequence(settings.seed).generate_state(2)
        if settings.keep_terms and isinstance(self.collector, Collector):
            self.collector.keep_terms()
        terms = getattr(self.collector, "terms", ())
        sizes = (learner.observation_size, learner.action_size)
        parts = getattr(self.collector, "parts", None)
        pixels = slice(parts.state, parts.seen) if parts is not None and parts.camera else None
        self.replay = Replay(settings.replay_capacity, *sizes, seed=int(replay_seed), terms=terms, pixels=pixels)
        self._actions = np.random.Generator(np.random.PCG64(int(action_seed)))
        self._offline: Replay | None = None
        self._compiled: bool | None = None

    def _resume(self) -> int:
        metrics_size = super()._resume()
        if self.settings.offline is not None and self._offline is None:
            self._offline = self._take_offline(Path(self.settings.offline))
        precision = getattr(getattr(self.learner, "settings", None), "precision", "float32")
        if precision == "bfloat16" and not has_bfloat16():
            print("this processor has no instructions for bfloat16: float32 is many times faster", file=sys.stderr)
        if self._compiled is None:
            planned = (self.settings.total_steps - self.settings.start_steps) * self.settings.updates_per_step
            self._compiled = {"always": True, "never": False}.get(self.settings.compile, planned >= COMPILE_FROM)
        if self._compiled:
            self._compiled = self._compile()
        return metrics_size

    def _take_offline(self, source: Path) -> Replay:
        """The replay of another run, from now on part of this one."""
        sizes = (self.learner.observation_size, self.learner.action_size)
        seed = np.random.SeedSequence([self.settings.seed, 1]).generate_state(1)[0]
        replay = offline_replay(source, *sizes, seed=int(seed))
        if self.run is not None:
            keep(replay, Run.open(source).replay, self.run.offline)
        return replay

    def _compile(self) -> bool:
        """Compiles the learner's update; whether it is compiled now.

        Raises:
            ConfigurationError: it cannot be, and `compile` is always.
        """
        always = self.settings.compile == "always"
        if not isinstance(self.learner, Compilable):
            return False
        print("compiling the update: about a minute the first time, seconds later", file=sys.stderr, flush=True)
        started = time.monotonic()
        try:
            self.learner.compile(self.settings.batch_size)
        except CannotCompile as error:
            if always:
                raise ConfigurationError(f"trainer: compile is always, but the update cannot be: {error}") from error
            print(f"training without a compiled update, which is slower: {error}", file=sys.stderr, flush=True)
            return False
        print(f"compiled in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
        return True

    def _collect(self) -> None:
        """One step of every environment into the replay."""
        collector = self.collector
        assert isinstance(collector, Collector)
        observation = collector.observation  # (N, O)
        if self.step < self.settings.start_steps:
            action = self._random_actions(1, collector.count)[0]  # (N, A)
        else:
            action = self.learner.act(observation)  # (N, A)
        self.learner.normalizer.observe(observation)
        self._keep(collector.step(action))
        self._note(collector.take_finished())

    def _random_actions(self, ticks: int, count: int) -> np.ndarray:
        """Actions of the steps before the first update, uniform, (ticks, count, A)."""
        return self._actions.uniform(-1.0, 1.0, (ticks, count, self.learner.action_size)).astype(np.float32)

    def _keep(self, rows: Transitions) -> None:
        """Takes transitions into the replay and counts them."""
        self.replay.add(
            rows.observation,
            rows.action,
            rows.reward,
            rows.next_observation,
            rows.terminated,
            rows.values,
            rows.environment,
        )
        self.step += len(rows.reward)

    def _update(self, metrics: bool) -> dict[str, float]:
        """The updates that are due; metrics of the last one if asked."""
        due = self._due()
        result: dict[str, float] = {}
        for index in range(due):
            batch = self._batch(self.settings.batch_size)
            result = self.learner.update(batch, metrics=metrics and index == due - 1)
            self.updates += 1
        return result

    def _batch(self, size: int) -> Batch:
        """What the next update learns from."""
        return self.replay.sample(size) if self._offline is None else mixed(self.replay, self._offline, size)

    def _due(self) -> int:
        """Updates to make now."""
        trained_steps = self.step - self.settings.start_steps
        return int(max(0, trained_steps) * self.settings.updates_per_step) - self.updates

    def _experience(self) -> dict[str, State]:
        assert self.run is not None
        parts = {"replay": self.replay.save_to(self.run.replay)}
        return parts if self._offline is None else {**parts, "offline": self._offline.save_to(self.run.offline)}

    def _own_values(self) -> dict[str, Any]:
        return {"actions": self._actions.bit_generator.state, "compiled": self._compiled}

    def _load_experience(self, saved: State) -> None:
        assert self.run is not None
        own = saved.part("trainer").values
        self._actions.bit_generator.state = own["actions"]
        if self.settings.compile == "auto":
            # The last bits of compiled updates differ; a run goes on as it began, however many steps it has now.
            self._compiled = own.get("compiled", False)
        self.replay.load_from(self.run.replay, saved.part("replay"))
        if self.settings.offline is not None:
            self._offline = kept_replay(self.run.offline, saved.part("offline"))

    def _write_checkpoint(self, log: MetricsLog) -> None:
        super()._write_checkpoint(log)
        assert self.run is not None
        # Only now, with the new checkpoint in place, may go what it no longer refers to.
        kept = []
        for place in checkpoints(self.run.checkpoints):
            with contextlib.suppress(StorageError):  # nobody can resume a damaged one, so it needs no segments
                kept.append(State(values=load_values(place)).part("replay"))
        Replay.prune(self.run.replay, kept)
