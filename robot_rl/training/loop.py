"""The training loop that all trainers share: intervals, metrics, checkpoints, signals.

A run that is killed and started again continues bit for bit on the CPU, for two reasons. Everything that later steps
depend on is in the checkpoint, random generators included. And what cannot be saved is not depended on: an environment
without `snapshot()` is started afresh, from a seed made of the run's seed and the step, at every checkpoint, in a run
that goes on just as in one that is resumed.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import numpy as np
import torch

from robot_rl.algorithms.learner import Compilable, Learner
from robot_rl.errors import ConfigurationError, RobotFault
from robot_rl.training.checkpoint import (
    latest_checkpoint,
    load_checkpoint,
    prune_checkpoints,
    save_checkpoint,
)
from robot_rl.training.collector import Collector, Environment, Episode, Source
from robot_rl.training.memory import keep_freed_memory
from robot_rl.training.metrics import MetricsLog, as_json, from_json, mean_metrics
from robot_rl.training.progress import Progress
from robot_rl.training.run import Run
from robot_rl.training.state import State


@dataclass(frozen=True)
class TrainerSettings:
    """Settings of the training loop."""

    total_steps: int = 1_000_000
    """Environment steps, summed over the environments."""
    start_steps: int = 5_000
    """Steps with uniformly random actions before the first update; of learners with a replay, as the next three are."""
    updates_per_step: float = 1.0
    """Updates of the learner per environment step after that; fractions and more than one are allowed."""
    batch_size: int = 256
    """Transitions per update."""
    replay_capacity: int = 1_000_000
    """Transitions kept."""
    offline: str | None = None
    """Folder of another run, with the same observations and actions, whose replay is half of every batch (RLPD). Its
    rewards stay as they were paid."""
    checkpoint_interval: int = 10_000
    """Steps between checkpoints; what a crash costs at most (for environments without snapshots twice that, for each
    of them)."""
    checkpoints_kept: int = 2
    """How many of the newest checkpoints stay on the disk."""
    evaluation_interval: int = 10_000
    """Steps between evaluations; 0 for none."""
    evaluation_episodes: int = 10
    """Episodes of an evaluation."""
    log_interval: int = 1_000
    """Steps between lines of metrics."""
    seed: int = 0
    """Of the environments, of the random actions and of the replay."""
    threads: int = 0
    """Threads that torch computes with; 0 leaves torch's own choice, or all cores but one where there is a pipeline."""
    pipeline: bool = False
    """Whether a process of its own simulates while this one learns; of learners with a replay. The weights that act are
    one to two chunks old then, and nothing else changes."""
    chunk_ticks: int = 16
    """Times that every environment is stepped by one version of the weights, in a pipeline and on Ray."""
    compile: str = "auto"
    """Whether the learner's update runs as compiled C++: always, never, or auto, where it can and the run is so long
    that it pays for the minute that compiling takes, once per machine. Learners with a compiled update: sac, sac_value,
    td3, ddpg."""
    episode_seconds: float | None = None
    """s, of a training episode on a robot; evaluation and, by default, training take the task's own limit. Short ones
    show the learner more of the starts."""
    keep_terms: bool = False
    """Whether a replay keeps the value of every reward term beside the reward, in simulation: then skills that weigh
    the same terms differently can learn from each other's experience (`robot-rl compose --share`)."""

    def __post_init__(self) -> None:
        """Refuses settings that cannot work, by name."""
        least = {
            "total_steps": 1,
            "start_steps": 0,
            "updates_per_step": 0,
            "batch_size": 1,
            "replay_capacity": 1,
            "checkpoint_interval": 1,
            "checkpoints_kept": 1,
            "evaluation_interval": 0,
            "evaluation_episodes": 1,
            "log_interval": 1,
            "seed": 0,
            "threads": 0,
            "chunk_ticks": 1,
        }
        for name, bound in least.items():
            if not getattr(self, name) >= bound:
                raise ConfigurationError(f"trainer: {name} must be at least {bound}, got {getattr(self, name)}")
        if self.compile not in ("auto", "always", "never"):
            raise ConfigurationError(f"trainer: compile must be auto, always or never, got {self.compile!r}")
        if self.episode_seconds is not None and not self.episode_seconds > 0:
            raise ConfigurationError(f"trainer: episode_seconds must be positive, got {self.episode_seconds}")


@dataclass(frozen=True)
class TrainingResult:
    """How a training run ended."""

    steps: int
    """Environment steps so far."""
    updates: int
    """Updates of the learner so far."""
    interrupted: bool
    """Whether it was stopped early, by Ctrl-C or SIGTERM, after a clean checkpoint."""
    wall_time: float
    """Seconds of training so far, over all resumptions."""
    metrics: dict[str, float] = field(default_factory=dict)
    """The newest value of every metric."""

    @property
    def exit_code(self) -> int:
        """130 if interrupted, otherwise 0."""
        return 130 if self.interrupted else 0


class TrainingLoop(ABC):
    """The loop and what it has counted so far; how a step is collected and what is learnt from is for its subclasses.

    - `robot_rl.training.trainer`: a replay, for learners that learn from old transitions too
    - `robot_rl.training.rollout_trainer`: rollouts, for those that learn from what they just did
    - `robot_rl.training.chunk_trainer`: a replay of what other processes roll out, in a pipeline or on Ray
    - `robot_rl.training.learner_process`: a replay of what another process collects, in real time
    - `robot_rl.training.worker_trainer`: many processes that collect and learn
    """

    def __init__(
        self,
        env: Environment | Source,
        learner: Learner,
        settings: TrainerSettings,
        run: Run | None = None,
        evaluate: Callable[[Learner], dict[str, float]] | None = None,
    ) -> None:
        """See `robot_rl.training.trainer.train`; `env` may also be where another process's transitions arrive."""
        self.collector: Source = Collector(env) if isinstance(env, Environment) else env
        sizes = (self.collector.observation_size, self.collector.action_size)
        if sizes != (learner.observation_size, learner.action_size):
            raise ConfigurationError(
                f"the environment has {sizes[0]} observations and {sizes[1]} actions, the learner was made for "
                f"{learner.observation_size} and {learner.action_size}"
            )
        if settings.compile == "always" and not isinstance(learner, Compilable):
            raise ConfigurationError(
                f"trainer: compile is always, but {type(learner).__name__} has no compiled update; sac, sac_value, td3 "
                "and ddpg have"
            )
        self.learner = learner
        self.settings = settings
        self.run = run
        self.evaluate = evaluate if settings.evaluation_interval else None
        self.step = 0
        self.updates = 0
        self._stop = threading.Event()
        self._checkpoint_step = 0
        self._wall_time = 0.0
        self._episodes: list[Episode] = []
        self._latest: dict[str, float] = {}
        self._episode_log: MetricsLog | None = None
        self._episodes_size = 0

    def train(self) -> TrainingResult:
        """Runs the loop to its end or to the first signal."""
        if self.settings.threads:
            torch.set_num_threads(self.settings.threads)
        keep_freed_memory()
        metrics_size = self._resume()
        log = None
        if self.run is not None:
            log = MetricsLog(self.run.metrics, self.run.tensorboard, metrics_size)
        progress = Progress(self.settings.total_steps, self.step)
        if self.step:
            progress.say(f"resumed at step {self.step}")
        try:
            with stop_signals() as self._stop:
                self._loop(log, progress)
                if log is not None and self._checkpoint_step < self.step:
                    self._save(log)
        except RobotFault:
            # The robot is gone, what was learnt from it is not. A snapshot would hold the fault, so then none is made.
            if log is not None and self._checkpoint_step < self.step and not self.collector.has_snapshots:
                self._write_checkpoint(log)
            raise
        finally:
            progress.close()
            for one in (log, self._episode_log):
                if one is not None:
                    one.close()
        return TrainingResult(
            self.step, self.updates, self.step < self.settings.total_steps, self._wall_time, dict(self._latest)
        )

    def _loop(self, log: MetricsLog | None, progress: Progress) -> None:
        settings = self.settings
        clock = _Speed(self.step, self.updates)
        started = time.monotonic() - self._wall_time
        while not self._is_last() and not self._stop.is_set():
            before = self.step
            self._collect()
            progress.advance(self.step - before)
            last = self._is_last()
            log_due = last or self.step // settings.log_interval > before // settings.log_interval
            metrics = mean_metrics([self._update(metrics=log_due)], "learner/")
            self._wall_time = time.monotonic() - started
            if log_due:
                metrics |= mean_metrics((episode.metrics() for episode in self._episodes), "training/")
                metrics |= clock.lap(self.step, self.updates) | self._own_metrics() | {"wall_time": self._wall_time}
                self._episodes = []
            if self.evaluate is not None:
                interval = settings.evaluation_interval
                if last or self.step // interval > before // interval:
                    metrics |= mean_metrics([self.evaluate(self.learner)], "evaluation/")
            if metrics:
                self._latest |= metrics
                if log is not None:
                    log.write(self.step, metrics)
                progress.report(self.step, metrics)
            if log is not None and self._checkpoint_due():
                self._save(log)

    def _note(self, episodes: Iterable[Episode]) -> None:
        """Takes finished episodes in; those of a randomised robot are kept one by one."""
        for episode in episodes:
            self._episodes.append(episode)
            if episode.randomization and self.run is not None:
                if self._episode_log is None:
                    self._episode_log = MetricsLog(self.run.episodes, size=self._episodes_size)
                drawn = {f"randomization/{name}": value for name, value in episode.randomization.items()}
                self._episode_log.write(self.step, {**episode.metrics(), **drawn})

    def _is_last(self) -> bool:
        """Whether the step just made was the last one."""
        return self.step >= self.settings.total_steps

    def _own_metrics(self) -> dict[str, float]:
        """What a loop of another kind has to say besides."""
        return {}

    @abstractmethod
    def _collect(self) -> None:
        """Some steps of the environments, kept for learning; counts them in `step`."""

    @abstractmethod
    def _update(self, metrics: bool) -> dict[str, float]:
        """The updates that are due; metrics of the last one if asked."""

    @abstractmethod
    def _experience(self) -> dict[str, State]:
        """What a checkpoint keeps of the collected steps, by part."""

    def _own_values(self) -> dict[str, Any]:
        """What a checkpoint keeps besides, JSON values."""
        return {}

    @abstractmethod
    def _load_experience(self, saved: State) -> None:
        """Goes on from the parts of `_experience` in a checkpoint."""

    # -- checkpoints --------------------------------------------------------------------------------------------------

    def _checkpoint_due(self) -> bool:
        if self.collector.has_snapshots or self.collector.at_start:
            return self._intervals_unsaved() >= 1
        # Wait for the end of the episode, but not for ever: then it is cut short, as by a time limit. Several
        # environments hardly ever stand at a start together, so each of them gets the two intervals: 64 that are cut
        # every 20,000 steps of all would never see what comes after the 312th step of an episode.
        return self._intervals_unsaved() >= 2 * self.collector.count

    def _intervals_unsaved(self) -> int:
        """Checkpoints that were due by the steps since the last one."""
        interval = self.settings.checkpoint_interval
        return self.step // interval - self._checkpoint_step // interval

    def _restart_seed(self) -> int:
        """Seed of the environments when they start afresh at this step."""
        return int(np.random.SeedSequence([self.settings.seed, self.step]).generate_state(1)[0])

    def _save(self, log: MetricsLog) -> None:
        self._write_checkpoint(log)
        if not self.collector.has_snapshots:
            self.collector.restart(self._restart_seed())

    def _write_checkpoint(self, log: MetricsLog) -> None:
        assert self.run is not None
        own = State(
            values={
                "step": self.step,
                "updates": self.updates,
                "wall_time": self._wall_time,
                "metrics_size": log.sync(),
                "episodes_size": self._episodes_size if self._episode_log is None else self._episode_log.sync(),
                "latest": as_json(self._latest),
                "episodes": [vars(episode) for episode in self._episodes],
                **self._own_values(),
            }
        )
        parts = {
            "trainer": own,
            "collector": self.collector.state(),
            "learner": self.learner.state(),
            **self._experience(),
        }
        save_checkpoint(self.run.checkpoints, self.step, State.join(parts))
        self._checkpoint_step = self.step
        # Only now, with the new checkpoint in place, may go what it no longer refers to.
        prune_checkpoints(self.run.checkpoints, self.settings.checkpoints_kept)

    def _resume(self) -> int:
        """Loads the newest checkpoint or starts from the beginning; returns the size of the record of metrics."""
        place = latest_checkpoint(self.run.checkpoints) if self.run is not None else None
        if place is None or self.run is None:
            self.collector.restart(self._restart_seed())
            return 0
        saved = load_checkpoint(place)
        own = saved.part("trainer").values
        self.step = self._checkpoint_step = own["step"]
        self.updates = own["updates"]
        self._wall_time = own["wall_time"]
        self._latest = from_json(own["latest"])
        self._episodes = [Episode(**values) for values in own["episodes"]]
        self._episodes_size = own.get("episodes_size", 0)
        self.learner.load_state(saved.part("learner"))
        self.collector.load_state(saved.part("collector"), self._restart_seed())
        self._load_experience(saved)
        return own["metrics_size"]


class _Speed:
    """Steps and updates per second since the last lap."""

    def __init__(self, step: int, updates: int) -> None:
        self._last = (time.monotonic(), step, updates)

    def lap(self, step: int, updates: int) -> dict[str, float]:
        now = time.monotonic()
        then, steps_then, updates_then = self._last
        self._last = (now, step, updates)
        passed = max(now - then, 1e-9)
        return {
            "speed/steps_per_second": (step - steps_then) / passed,
            "speed/updates_per_second": (updates - updates_then) / passed,
        }


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """Turns the first Ctrl-C or SIGTERM into a wish that the loop meets between two steps; a second one raises."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # Python delivers signals to the main thread only
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, frame: FrameType | None) -> None:
        stop.set()
        print("stopping after this step and a checkpoint; once more to stop at once", file=sys.stderr)
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
